"""Blocks that begin from training images."""

import numpy as np
import pytest

from tests.fixtures import small_priors, small_trainers
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import VampPrior


def pseudo_inputs(make_model=small_priors.vamp_from_data, **changes):
    return small_trainers.make_trainer(make_model=make_model, **changes).model.prior.pseudo_inputs.numpy()


def test_each_begins_at_a_training_image_of_its_own():
    images = small_trainers.images() / 255
    chosen = [
        [number for number, image in enumerate(images) if np.allclose(image, begun, atol=1e-15)]
        for begun in pseudo_inputs()
    ]
    assert [len(matching) for matching in chosen] == [1] * 5
    assert len({number for (number,) in chosen}) == 5


@pytest.mark.slow
def test_the_seed_of_the_run_chooses_the_images():
    first = pseudo_inputs()
    np.testing.assert_array_equal(pseudo_inputs(), first)
    assert not np.array_equal(pseudo_inputs(seed=small_trainers.SEED + 1), first)


def test_the_images_are_as_the_model_takes_them():
    split = InMemorySplit(small_trainers.images(), binarization="dynamic")
    assert set(np.unique(pseudo_inputs(split=split))) == {0.0, 1.0}


def test_a_random_start_reads_no_image():
    begun = pseudo_inputs(lambda: small_priors.with_prior(VampPrior(5)))
    assert np.all(np.abs(begun - 0.05) < 0.06)


def test_more_images_than_there_are_cannot_be_had():
    message = r"VampPrior begins from 22 training images, and there are only 21; let it begin from fewer"
    with pytest.raises(ConfigurationError, match=message):
        pseudo_inputs(lambda: small_priors.with_prior(VampPrior(22, start="data")))
