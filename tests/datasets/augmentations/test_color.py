"""Brightness, contrast, saturation and hue against the formulas in NumPy."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from vaeflow import random
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.augmentations import ColorJitter
from vaeflow.datasets.augmented import AugmentedSplit
from vaeflow.errors import ConfigurationError

SHAPE = (40, 3, 4, 3)
STRENGTHS = {"brightness": 0.5, "contrast": 1.5, "saturation": 0.75, "hue": 0.5}


def pixels(channels=3):
    return np.random.default_rng(0).random((*SHAPE[:3], channels))


def jittered(images, dtype="float64", **settings):
    with random.keyed(1, "colors", 0):
        return ColorJitter(**settings).augment(tf.constant(images, dtype)).numpy()


def drawn():
    with random.keyed(1, "colors", 0):
        return random.uniform((SHAPE[0], 4), "float64").numpy()


def factors(number, strength):
    lowest, highest = max(0, 1 - strength), 1 + strength
    return (lowest + (highest - lowest) * drawn()[:, number])[:, None, None, None]


def luma(images):
    return (images @ [0.299, 0.587, 0.114])[..., None]


def brightened(images):
    return np.clip(images * factors(0, 0.5), 0, 1)


def contrasted(images):
    mean = luma(images).mean(axis=(1, 2, 3), keepdims=True)
    return np.clip(mean + factors(1, 1.5) * (images - mean), 0, 1)


def saturated(images):
    return np.clip(luma(images) + factors(2, 0.75) * (images - luma(images)), 0, 1)


def turned(images):
    turns = 0.5 * (2 * drawn()[:, 3] - 1)
    rows = images.reshape(len(images), -1, 3)
    changed = np.empty_like(rows)
    for image, turn, result in zip(rows, turns, changed, strict=True):
        for number, (hue, saturation, value) in enumerate(colorsys.rgb_to_hsv(*pixel) for pixel in image):
            result[number] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    return changed.reshape(images.shape)


TWINS = {"brightness": brightened, "contrast": contrasted, "saturation": saturated, "hue": turned}


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_change_is_its_formula(name):
    found = jittered(pixels(), **{name: STRENGTHS[name]})
    np.testing.assert_allclose(found, TWINS[name](pixels()), rtol=1e-12, atol=1e-12)


def test_the_changes_follow_one_another():
    expected = pixels()
    for twin in TWINS.values():
        expected = twin(expected)
    np.testing.assert_allclose(jittered(pixels(), **STRENGTHS), expected, rtol=1e-10, atol=1e-10)


def test_every_image_is_changed_in_its_own_way():
    image = np.full(SHAPE, 0.4)
    assert len(np.unique(jittered(image, brightness=0.5)[:, 0, 0, 0])) == SHAPE[0]


def test_factors_fill_their_range():
    bright = jittered(np.full((4000, 1, 1, 3), 0.5), brightness=0.2)[:, 0, 0, 0] / 0.5
    assert bright.min() >= 0.8
    assert bright.max() <= 1.2
    assert abs(bright.mean() - 1) < 0.01  # The standard deviation of the mean is 0.002.
    assert abs(bright.std() - 0.4 / np.sqrt(12)) < 0.004


def test_pixels_stay_in_range():
    found = jittered(pixels(), "float32", **STRENGTHS)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.dtype == np.float32


def test_grey_images_take_brightness_and_contrast():
    found = jittered(pixels(1), brightness=0.5, contrast=1.5)
    bright = brightened(pixels(1))
    mean = bright.mean(axis=(1, 2, 3), keepdims=True)
    expected = np.clip(mean + factors(1, 1.5) * (bright - mean), 0, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_alpha_channel_is_kept():
    found = jittered(pixels(4), **STRENGTHS)
    np.testing.assert_array_equal(found[..., 3], pixels(4)[..., 3])
    np.testing.assert_array_equal(found[..., :3], jittered(pixels(4)[..., :3], **STRENGTHS))


@pytest.mark.parametrize("name", ["saturation", "hue"])
def test_grey_images_have_no_saturation_and_no_hue(name):
    with pytest.raises(ConfigurationError, match=rf"`ColorJitter.{name}` must be 0 for images of 1 channels"):
        AugmentedSplit(InMemorySplit(np.zeros((2, 4, 4, 1), np.uint8)), [ColorJitter(**{name: 0.1})])


def test_a_jitter_of_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="ColorJitter changes nothing"):
        ColorJitter()


def test_a_hue_turns_by_half_a_turn_at_most():
    with pytest.raises(ConfigurationError, match=r"`ColorJitter.hue` must be at most 0.5"):
        ColorJitter(hue=0.51)


@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan"), "much"])
@pytest.mark.parametrize("name", STRENGTHS)
def test_a_strength_is_a_number_of_at_least_0(name, value):
    with pytest.raises(ValueError, match=rf"`ColorJitter.{name}` must be a number of at least 0"):
        ColorJitter(**{name: value})
