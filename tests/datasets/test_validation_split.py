"""Training images that are held out for validation."""

import numpy as np
import pytest

from tests.fixtures import tiny_runs
from vaeflow.datasets import ImageFolder, RenderedSprites
from vaeflow.datasets.pipeline import has_validation, read_split
from vaeflow.errors import ConfigurationError


def as_set(array):
    return set(map(bytes, array))


def test_training_images_are_held_out():
    dataset = tiny_runs.dataset(num_train=40, validation_fraction=0.25)
    train, held_out = read_split(dataset, "train"), read_split(dataset, "validation")
    assert (train.num_examples, held_out.num_examples) == (30, 10)
    assert as_set(train.array) | as_set(held_out.array) == as_set(tiny_runs.images(40))
    assert not as_set(train.array) & as_set(held_out.array)
    assert read_split(dataset, "evaluation").num_examples == 11


def test_the_choice_never_changes():
    dataset = tiny_runs.dataset(num_train=20, validation_fraction=0.2)
    expected = tiny_runs.images(20)[[1, 5, 15, 17]]
    np.testing.assert_array_equal(read_split(dataset, "validation").array, expected)


def test_a_source_that_draws_is_cut_too():
    dataset = RenderedSprites(image_size=16, num_evaluation=10, validation_fraction=0.1)
    whole, train, held_out = dataset.load("train"), *(read_split(dataset, n) for n in ("train", "validation"))
    assert train.num_examples + held_out.num_examples == whole.num_examples
    places = np.array([0, 5])
    chosen = held_out._indices[places]
    np.testing.assert_array_equal(held_out.examples(places), whole.examples(chosen))
    np.testing.assert_array_equal(held_out.factors(places), whole.factors(chosen))


def test_static_noise_is_that_of_the_whole_training_split():
    settings = {"num_train": 40, "binarization": "static"}
    whole = read_split(tiny_runs.dataset(**settings), "train")
    dataset = tiny_runs.dataset(**settings, validation_fraction=0.25)
    parts = [read_split(dataset, name).array for name in ("train", "validation")]
    assert as_set(np.concatenate(parts)) == as_set(whole.array)


def test_without_a_validation_split_the_setting_is_named():
    assert not has_validation(tiny_runs.dataset())
    with pytest.raises(ConfigurationError, match=r"set `MemoryDataset.validation_fraction`"):
        read_split(tiny_runs.dataset(), "validation")


def test_two_validation_splits_are_refused(tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / name).mkdir()
    assert has_validation(ImageFolder(tmp_path))
    with pytest.raises(ConfigurationError, match=r"has a validation split of its own; got 0.1"):
        has_validation(ImageFolder(tmp_path, validation_fraction=0.1))
