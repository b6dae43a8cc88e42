"""Mirrored images."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import places
from vaeflow import random
from vaeflow.datasets.augmentations import RandomFlip

NUM = 4000


def flipped(**settings):
    with random.keyed(2, "flips", 0):
        return RandomFlip(**settings).augment(tf.constant(places.images(1, 2, 2).repeat(NUM, axis=0))).numpy()


def test_both_ways_are_drawn_independently_with_their_probabilities():
    image = places.images(1, 2, 2)[0]
    ways = {(0, 0): image, (1, 0): image[:, ::-1], (0, 1): image[::-1], (1, 1): image[::-1, ::-1]}
    found = flipped(horizontal=0.25, vertical=0.5)
    shares = {way: np.mean(np.all(found == expected, axis=(1, 2, 3))) for way, expected in ways.items()}
    assert sum(shares.values()) == 1
    for (horizontal, _), share in shares.items():
        expected = (0.25 if horizontal else 0.75) * 0.5
        assert abs(share - expected) < 0.035  # The standard deviation is below 0.008.


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_a_probability_of_0_or_1_is_exact(probability):
    image = places.images(1, 2, 2)[0]
    found = flipped(horizontal=probability, vertical=1 - probability)
    np.testing.assert_array_equal(found, [image[:, ::-1] if probability else image[::-1]] * NUM)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True, "often"])
@pytest.mark.parametrize("name", ["horizontal", "vertical"])
def test_a_probability_is_in_0_to_1(name, value):
    with pytest.raises(ValueError, match=rf"`RandomFlip.{name}` must be a probability in \[0, 1\]"):
        RandomFlip(**{name: value})
