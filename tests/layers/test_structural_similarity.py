"""The MS-SSIM loss against TensorFlow's metric, a twin in NumPy, and at its edges."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import signal

from vaeflow.distributions import Laplace
from vaeflow.distributions.structural_similarity import most_scales, multi_scale_similarity
from vaeflow.errors import ConfigurationError
from vaeflow.layers import StructuralSimilarityLikelihood

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def pair(size=(45, 50), channels=2, spread=0.2):
    """Smooth images, and noisy copies of them, `[2, *size, channels]`."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = 0.5 + 0.4 * np.sin(rows / 5) * np.cos(columns / 7)
    one = np.repeat(waves[None, ..., None], 2, axis=0) * generator.uniform(0.5, 1, (2, 1, 1, channels))
    return one, np.clip(one + spread * generator.normal(size=one.shape), 0, 1)


def twin(one, other, num_scales):
    """Wang et al. 2003, Eq. 7, of one channel of a pair of images."""
    places = np.arange(11) - 5
    window = np.exp(-(places[:, None] ** 2 + places**2) / (2 * 1.5**2))
    window /= window.sum()
    weights = WEIGHTS[:num_scales] / WEIGHTS[:num_scales].sum()
    product = 1.0
    for scale in range(num_scales):
        if scale:
            one, other = (np.pad(each, [(0, n % 2) for n in each.shape], "edge") for each in (one, other))
            one, other = (
                each.reshape(each.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3)) for each in (one, other)
            )

        def mean(values):
            return signal.convolve2d(values, window, "valid")

        variances = mean(one**2) - mean(one) ** 2, mean(other**2) - mean(other) ** 2
        covariance = mean(one * other) - mean(one) * mean(other)
        structure = (2 * covariance + 9e-4) / (sum(variances) + 9e-4)
        luminance = (2 * mean(one) * mean(other) + 1e-4) / (mean(one) ** 2 + mean(other) ** 2 + 1e-4)
        values = structure * luminance if scale == num_scales - 1 else structure
        product *= np.mean(values) ** weights[scale]
    return product


@pytest.mark.parametrize("num_scales", [1, 3])
def test_the_similarity_is_that_of_its_twin_and_of_the_metric(num_scales):
    one, other = pair()
    found = multi_scale_similarity(tf.constant(one), tf.constant(other), num_scales)
    expected = [np.mean([twin(x[..., c], y[..., c], num_scales) for c in (0, 1)]) for x, y in zip(one, other)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    factors = (WEIGHTS[:num_scales] / WEIGHTS[:num_scales].sum()).tolist()
    metric = tf.image.ssim_multiscale(*(x.astype(np.float32) for x in (one, other)), 1.0, factors)
    np.testing.assert_allclose(found, metric, rtol=1e-4)
    assert 0.05 < min(expected) < max(expected) < 0.95


def test_equal_images_are_alike():
    one, _ = pair()
    np.testing.assert_allclose(multi_scale_similarity(tf.constant(one), tf.constant(one), 3), 1, rtol=1e-12)


@pytest.mark.parametrize("other", [lambda x: 1 - x, np.zeros_like, np.ones_like, lambda x: x])
def test_the_gradient_is_finite_where_images_have_nothing_in_common(other):
    """There TensorFlow's is not a number."""
    one = pair()[0].astype(np.float32)
    likelihood = StructuralSimilarityLikelihood()
    likelihood.build(one.shape)
    mean = tf.constant(other(one))
    with tf.GradientTape() as tape:
        tape.watch(mean)
        log_prob = likelihood.distribution(mean).log_prob(one)
    assert np.all(np.isfinite(log_prob))
    assert np.all(np.isfinite(tape.gradient(log_prob, mean)))


@pytest.mark.families
def test_the_gradient_is_that_of_differences():
    one, other = pair((24, 24), 1)
    likelihood = StructuralSimilarityLikelihood(scale=0.1, dtype="float64")
    likelihood.build(one.shape)

    def loss(mean):
        return tf.reduce_sum(likelihood.distribution(mean).log_prob(one))

    mean = tf.constant(other)
    with tf.GradientTape() as tape:
        tape.watch(mean)
        value = loss(mean)
    step = np.zeros_like(other)
    step[0, 7, 9, 0] = 1e-6
    expected = (float(loss(tf.constant(other + step))) - float(loss(tf.constant(other - step)))) / 2e-6
    assert tape.gradient(value, mean).numpy()[0, 7, 9, 0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.families
def test_the_mix_is_of_both():
    one, other = pair()
    scores = []
    for alpha in (0.0, 1.0, 0.84):
        likelihood = StructuralSimilarityLikelihood(alpha, 0.5, 2, dtype="float64")
        likelihood.build(one.shape)
        scores.append(likelihood.distribution(tf.constant(other)).log_prob(one).numpy())
    laplace = Laplace(tf.constant(other), tf.math.log(tf.constant(0.5, "float64")), normalized=False)
    np.testing.assert_allclose(scores[0], laplace.log_prob(one), rtol=1e-12)
    similarity = multi_scale_similarity(tf.constant(one), tf.constant(other), 2)
    np.testing.assert_allclose(scores[1], -(1 - similarity) * 45 * 50 * 2 / 0.5, rtol=1e-12)
    np.testing.assert_allclose(scores[2], 0.16 * scores[0] + 0.84 * scores[1], rtol=1e-12)


def test_the_coarsest_scale_must_hold_the_window():
    assert [most_scales((size, 200)) for size in (10, 11, 20, 21, 28, 64, 161)] == [0, 1, 1, 2, 2, 3, 5]
    with pytest.raises(
        ConfigurationError, match=r"num_scales` is 3, and images of 28 x 28 .*num_scales = 2`"
    ):
        StructuralSimilarityLikelihood(num_scales=3).build((None, 28, 28, 1))
    with pytest.raises(
        ConfigurationError, match=r"images of 8 x 28 pixels are too small: .*another likelihood"
    ):
        StructuralSimilarityLikelihood().build((None, 8, 28, 1))


@pytest.mark.parametrize(("setting", "value"), [("alpha", 1.5), ("scale", 0), ("num_scales", 6)])
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`StructuralSimilarityLikelihood.{setting}` must be"):
        StructuralSimilarityLikelihood(**{setting: value})
