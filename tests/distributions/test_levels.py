"""Probabilities of the 256 levels of pixels."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import CategoricalLevels
from vaeflow.distributions.levels import level_numbers

GENERATOR = np.random.default_rng(0)
LOGITS = GENERATOR.normal(size=(2, 3, 1, 256))
NUMBERS = GENERATOR.integers(0, 256, (2, 3, 1))
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("num_levels", [2, 17, 256, 65536, 2**20])
def test_every_level_is_found_again(dtype, num_levels):
    numbers = np.unique(np.linspace(0, num_levels - 1, 5000).astype(int))
    pixels = (numbers / (num_levels - 1)).astype(dtype)
    np.testing.assert_array_equal(level_numbers(pixels, num_levels), numbers)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_that_the_pipeline_scales_are_found_again(dtype):
    pixels = tf.cast(np.arange(256, dtype=np.uint8), dtype) / 255.0
    np.testing.assert_array_equal(level_numbers(pixels, 256), np.arange(256))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_log_prob(dtype, tolerance):
    expected = np.log(np.take_along_axis(PROBABILITIES, NUMBERS[..., None], axis=-1))[..., 0]
    levels = CategoricalLevels(tf.constant(LOGITS, dtype))
    value = (NUMBERS / 255).astype(dtype)
    np.testing.assert_allclose(levels.log_prob_per_dimension(value), expected, rtol=tolerance)
    np.testing.assert_allclose(levels.log_prob(value), expected.sum((1, 2)), rtol=tolerance)


def test_all_levels_sum_to_one():
    levels = CategoricalLevels(tf.constant(np.repeat(LOGITS[:1, :1], 256, axis=0)))
    log_probs = levels.log_prob(np.arange(256).reshape(256, 1, 1) / 255)
    assert np.exp(log_probs).sum() == pytest.approx(1.0, abs=1e-12)


def test_the_mean():
    expected = (PROBABILITIES * np.arange(256)).sum(-1) / 255
    np.testing.assert_allclose(CategoricalLevels(tf.constant(LOGITS)).mean, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pixel", [0.0, 100 / 255, 1.0])
def test_its_gradient_at_large_logits_is_finite(dtype, pixel):
    logits = tf.constant(np.where(np.arange(256) % 2, -50.0, 50.0)[None, None], dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = CategoricalLevels(logits).log_prob(tf.constant([[pixel]], dtype))
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, logits)).all()


def test_half_precision_is_computed_in_single():
    levels = CategoricalLevels(tf.constant(LOGITS, tf.bfloat16))
    assert levels.log_prob(NUMBERS / 255).dtype == "float32"
    assert levels.mean.dtype == "float32"
