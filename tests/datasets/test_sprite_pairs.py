"""Pairs of sprites: which factors differ, and that training steps alone see pairs."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import RenderedSprites, SpritePairs, pipeline
from vaeflow.datasets.checks import check_pairs
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, AdaGVAE

RANGES = {
    "image_size": 16,
    "scales": (2, 4),
    "orientations": (5, 5),
    "x_positions": (0, 3),
    "y_positions": (9, 30),
}
INDICES = np.arange(200)


def pairs(**settings):
    return pipeline.read_split(SpritePairs(**RANGES | settings), "train", augmented=True)


@pytest.mark.parametrize("num_changed", [1, 2, 3])
def test_that_many_factors_differ(num_changed):
    """Four vary: the orientation is fixed."""
    split = pairs(num_changed=num_changed)
    first, second = split.factors(INDICES), split.second_factors(INDICES)
    differs = first != second
    assert np.all(differs.sum(axis=1) == num_changed)
    assert differs.any(axis=0).tolist() == [True, True, False, True, True]
    for factor, (lowest, highest) in enumerate([(0, 2), (2, 4), (5, 5), (0, 3), (9, 30)]):
        assert lowest <= second[:, factor].min() <= second[:, factor].max() <= highest


def test_the_number_of_changes_and_the_new_values_are_uniform():
    """Within 5 standard errors."""
    split, indices = pairs(), np.arange(3000) % 790
    first, second = split.factors(indices[:790]), split.second_factors(indices[:790])
    counts = np.bincount((first != second).sum(axis=1), minlength=4)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] / 790 - 1 / 3) < 5 * np.sqrt(2 / 9 / 790))
    changed = first[:, 0] != second[:, 0]
    steps = (second - first)[changed, 0] % 3  # Of three shapes: to each of the other two.
    assert abs(np.mean(steps == 1) - 0.5) < 5 * 0.5 / np.sqrt(changed.sum())


def test_the_images_are_those_of_the_factors():
    split = pairs()
    grid = SpritePairs(**RANGES).load_grid()
    of_grid = {tuple(row): i for i, row in enumerate(grid.factors(np.arange(grid.num_examples)))}
    images = split.examples(tf.constant(INDICES[:20])).numpy()
    assert images.shape == (20, 16, 16, 2) == (20, *split.stored_shape)
    for channel, factors in enumerate((split.factors(INDICES[:20]), split.second_factors(INDICES[:20]))):
        places = tf.constant([of_grid[tuple(row)] for row in factors], tf.int64)
        np.testing.assert_array_equal(images[..., channel], grid.examples(places)[..., 0])


def test_a_pair_depends_on_the_number_of_its_example_alone():
    split = pairs()
    one, other = split.second_factors(INDICES), split.second_factors(INDICES[::-1])
    np.testing.assert_array_equal(one, other[::-1])


def test_everything_but_training_steps_sees_single_images():
    dataset, single = SpritePairs(**RANGES), RenderedSprites(**RANGES)
    for name in ("train", "evaluation"):
        split = pipeline.read_split(dataset, name)
        assert not split.has_pairs
        assert split.stored_shape == split.shape == (16, 16, 1)
        assert split.fingerprint() == pipeline.read_split(single, name).fingerprint()
    assert pairs().fingerprint() != pairs(num_changed=2).fingerprint()


def test_models_and_data_of_pairs_belong_together():
    single = pipeline.read_split(SpritePairs(**RANGES), "train")
    check_pairs(AdaGVAE(), pairs())
    check_pairs(VAE(), single)
    with pytest.raises(ConfigurationError, match=r"AdaGVAE trains on pairs of images, .*SpritePairs"):
        check_pairs(AdaGVAE(), single)
    with pytest.raises(ConfigurationError, match=r"and VAE trains on single ones; .*AdaGVAE"):
        check_pairs(VAE(), pairs())


@pytest.mark.parametrize("num_changed", [0, 4, 1.5])
def test_a_number_that_leaves_nothing_to_share_is_refused(num_changed):
    with pytest.raises(ValueError, match=r"`SpritePairs.num_changed` must be"):
        SpritePairs(**RANGES, num_changed=num_changed)
