"""Which training images keep their label, and who sees that."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from vaeflow.datasets import Dataset, InMemorySplit, pipeline
from vaeflow.datasets.checks import check_reads
from vaeflow.errors import ConfigurationError
from vaeflow.models import M2, ConditionalVAE


class Labelled(Dataset):
    """60 images of 3 classes to train on, and 12 to evaluate."""

    def load(self, name):
        count = {"train": 60, "evaluation": 12}[name]
        return InMemorySplit(tiny_runs.images(count), np.arange(count) % 3)


def trained_on(num_labelled, **settings):
    return pipeline.read_split(Labelled(num_labelled=num_labelled, **settings), "train", augmented=True)


@pytest.mark.parametrize(("num_labelled", "counts"), [(3, [1, 1, 1]), (7, [3, 2, 2]), (60, [20, 20, 20])])
def test_each_class_keeps_as_many_labels(num_labelled, counts):
    split = trained_on(num_labelled)
    found = split.factors(np.arange(60))[:, 0]
    assert np.bincount(found, minlength=4).tolist() == [*counts, 60 - num_labelled]
    known = found < 3
    np.testing.assert_array_equal(found[known], (np.arange(60) % 3)[known])
    assert split.factor_sizes == (4,)


def test_the_choice_is_the_same_each_time_and_grows_with_the_number():
    few, again, more = (trained_on(count).factors(np.arange(60))[:, 0] < 3 for count in (6, 6, 12))
    np.testing.assert_array_equal(few, again)
    assert np.all(more[few])


def test_only_training_steps_see_it():
    dataset = Labelled(num_labelled=6)
    for name in ("train", "evaluation"):
        split = pipeline.read_split(dataset, name)
        assert not split.has_unknown_labels
        assert split.factor_sizes == (3,)


def test_labels_inside_the_input_pipeline_are_those():
    split, indices = trained_on(6), np.array([5, 0, 59])
    labels = split.labels(tf.constant(indices, tf.int64))
    np.testing.assert_array_equal(labels, split.factors(indices))
    np.testing.assert_array_equal(split.examples(tf.constant(indices)), split.array[indices])
    assert split.fingerprint() != trained_on(9).fingerprint()


def test_more_than_there_are_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"`Labelled.num_labelled` is 90, 30 images of class 0, .* 20 of"
    ):
        trained_on(90)


def test_images_without_one_label_are_refused():
    class Unlabelled(Labelled):
        def load(self, name):
            return InMemorySplit(tiny_runs.images(20))

    with pytest.raises(ConfigurationError, match="these have none; leave it out"):
        pipeline.read_split(Unlabelled(num_labelled=3), "train", augmented=True)


def test_a_model_says_whether_it_takes_them():
    split = trained_on(6)
    check_reads(M2(3), split)
    check_reads(M2(3), pipeline.read_split(Labelled(), "evaluation"))
    with pytest.raises(
        ConfigurationError, match="ConditionalVAE needs the label of each image, and `num_labelled`"
    ):
        check_reads(ConditionalVAE(3), split)
    with pytest.raises(ConfigurationError, match=r"set `M2.num_classes = \[3\]`"):
        check_reads(M2(2), split)


@pytest.mark.parametrize("num_labelled", [0, 2.5, "10"])
def test_a_wrong_number_is_refused(num_labelled):
    with pytest.raises(ValueError, match=r"`Labelled.num_labelled` must be a positive integer"):
        Labelled(num_labelled=num_labelled)
