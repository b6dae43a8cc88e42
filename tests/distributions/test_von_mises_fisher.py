"""Von Mises-Fisher against numerical integration, known moments, and differences."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import integrate, optimize, special, stats

from vaeflow import random
from vaeflow.distributions import Gaussian, UniformOnSphere, VonMisesFisher, closed_kl
from vaeflow.distributions.von_mises_fisher import angle_slope, log_area
from vaeflow.errors import ConfigurationError

CASES = [(2, 1.0), (2, 50.0), (3, 1.0), (3, 8.0), (5, 2.0), (10, 100.0), (40, 1.5), (40, 300.0)]
NUM_DRAWS = 8_000


def made(size, kappa, rows=1, dtype="float64"):
    mean = np.random.default_rng(size).normal(size=(1, size))
    mean = np.repeat(mean / np.linalg.norm(mean), rows, axis=0)
    return VonMisesFisher(tf.constant(mean, dtype), tf.fill((rows, 1), tf.constant(kappa, dtype)))


def density_of_angle(size, kappa):
    """Normalized by quadrature."""

    def unnormalized(angle):
        return np.exp(kappa * (np.cos(angle) - 1)) * np.sin(angle) ** (size - 2)

    total = integrate.quad(unnormalized, 0, np.pi, epsabs=0, epsrel=1e-12, limit=500)[0]
    return lambda angle: unnormalized(angle) / total


def mean_cosine(size, kappa):
    return special.ive(size / 2, kappa) / special.ive(size / 2 - 1, kappa)


def drawn(distribution, step=0):
    with random.keyed(0, "test", step):
        return distribution.draw()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "kappa"), CASES)
def test_the_density_and_the_kl_are_those_of_quadrature(size, kappa):
    distribution, density = made(size, kappa), density_of_angle(size, kappa)
    # A point at the angle of 0.7, and the density of all such points: their area has the factor sin^(D−2).
    mean = distribution.mean_direction.numpy()
    around = np.random.default_rng(0).normal(size=(1, size))
    around -= (around @ mean.T) * mean
    point = math.cos(0.7) * mean + math.sin(0.7) * around / np.linalg.norm(around)
    log_ring = log_area(size - 1) if size > 2 else math.log(2)
    expected = math.log(density(0.7)) - log_ring - (size - 2) * math.log(math.sin(0.7))
    assert float(distribution.log_prob(tf.constant(point))[0]) == pytest.approx(expected, rel=1e-9)

    def integrand(angle):
        log_p = kappa * (np.cos(angle) - np.cos(0.7)) + expected
        return density(angle) * (log_p + log_area(size))

    kl = integrate.quad(integrand, 0, np.pi, epsabs=0, epsrel=1e-11, limit=500)[0]
    found = distribution.kl(UniformOnSphere(size, "float64"))
    assert found.shape == (1, 1)
    assert float(found[0, 0]) == pytest.approx(kl, rel=1e-8)


@pytest.mark.families
@pytest.mark.parametrize(("size", "kappa"), CASES)
def test_draws_have_the_distribution(size, kappa):
    """Angles by a Kolmogorov-Smirnov test at 0.1 %, directions around the mean within 5 standard errors."""
    distribution = made(size, kappa, NUM_DRAWS)
    value, log_prob = drawn(distribution)
    np.testing.assert_allclose(np.linalg.norm(value, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(log_prob, distribution.log_prob(value), rtol=1e-12)
    mean = distribution.mean_direction.numpy()[0]
    cosine = value.numpy() @ mean
    angles = np.linspace(0, np.pi, 20_001)
    cumulative = integrate.cumulative_trapezoid(density_of_angle(size, kappa)(angles), angles, initial=0)
    test = stats.kstest(np.arccos(np.clip(cosine, -1, 1)), lambda angle: np.interp(angle, angles, cumulative))
    assert test.pvalue > 1e-3
    across = value.numpy() - cosine[:, None] * mean
    errors = across.std(axis=0) / math.sqrt(NUM_DRAWS)
    assert np.all(np.abs(across.mean(axis=0)) < 5 * errors + 1e-12)


@pytest.mark.parametrize(("size", "kappa"), CASES[1::3])
def test_the_gradient_of_the_angle_keeps_the_value_of_the_distribution_function(size, kappa):
    """By differences of angles that SciPy finds at the same value of F, also far out."""

    def angle_at(share, kappa):
        density = density_of_angle(size, kappa)

        def excess(angle):
            return integrate.quad(density, 0, angle, epsabs=1e-14, epsrel=1e-12, limit=500)[0] - share

        return optimize.brentq(excess, 0, np.pi, xtol=1e-14)

    shares = (0.001, 0.3, 0.5, 0.8, 0.999)
    angles = np.array([angle_at(share, kappa) for share in shares])
    step = 1e-3 * kappa
    expected = [
        (angle_at(share, kappa + step) - angle_at(share, kappa - step)) / (2 * step) for share in shares
    ]
    b = (size - 1) / (2 * kappa + math.hypot(2 * kappa, size - 1))
    latitudes = 2 * np.arctan(np.tan(angles / 2) / math.sqrt(b))[:, None]
    found = angle_slope(
        tf.constant(latitudes), tf.fill((len(shares), 1), tf.constant(kappa, "float64")), size
    )
    np.testing.assert_allclose(found[:, 0], expected, rtol=2e-5)


@pytest.mark.parametrize(("size", "kappa"), [(2, 1.5), (5, 2.0)])
def test_the_gradient_of_an_expectation_is_right(size, kappa):
    """Of E[x] = A(κ) μ by κ, and by μ: of Monte Carlo within 5 standard errors."""
    distribution = made(size, kappa, NUM_DRAWS)
    mean, concentration = distribution.mean_direction, distribution.concentration
    weights = tf.constant(np.random.default_rng(1).normal(size=size))
    with tf.GradientTape() as tape:
        tape.watch((mean, concentration))
        value, _ = drawn(VonMisesFisher(mean, concentration))
        outcome = tf.reduce_sum(value * weights, axis=1)
    by_mean, by_kappa = (gradient.numpy() for gradient in tape.gradient(outcome, (mean, concentration)))
    a, unit = mean_cosine(size, kappa), mean.numpy()[0]
    slope = 1 - a**2 - (size - 1) * a / kappa
    expected = slope * float(weights.numpy() @ unit)
    assert abs(by_kappa.mean() - expected) < 5 * by_kappa.std() / math.sqrt(NUM_DRAWS)
    # Of directions along the sphere; the length of μ is no parameter.
    along = np.eye(size) - np.outer(unit, unit)
    found, wanted = by_mean @ along, a * weights.numpy() @ along
    assert np.all(np.abs(found.mean(axis=0) - wanted) < 5 * found.std(axis=0) / math.sqrt(NUM_DRAWS) + 1e-12)


@pytest.mark.families
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_finite_at_the_edges(dtype):
    for size, kappa in ((2, 1.0), (3, 1e5), (300, 1e5)):
        for sign in (1, -1):
            mean = tf.constant(np.eye(size)[:1] * sign, dtype)
            concentration = tf.constant([[kappa]], dtype)
            with tf.GradientTape() as tape:
                tape.watch((mean, concentration))
                distribution = VonMisesFisher(mean, concentration)
                value, log_prob = drawn(distribution)
                kl = distribution.kl(UniformOnSphere(size, dtype))
                loss = tf.reduce_sum(value) + tf.reduce_sum(log_prob) + tf.reduce_sum(kl)
            assert value.dtype == kl.dtype == dtype
            for gradient in tape.gradient(loss, (mean, concentration)):
                assert np.all(np.isfinite(gradient))


def test_the_noise_of_a_row_is_its_own():
    distribution = made(4, 3.0, 6)
    value, _ = drawn(distribution)
    with random.keyed(0, "test", 0, first_position=4):
        later, _ = made(4, 3.0, 2).draw()
    np.testing.assert_array_equal(value[4:], later)
    assert len(np.unique(value, axis=0)) == 6


def test_the_uniform_distribution():
    uniform = UniformOnSphere(3, "float64")
    with random.keyed(0, "test", 0):
        value, log_prob = uniform.draw(NUM_DRAWS)
    np.testing.assert_allclose(np.linalg.norm(value, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(log_prob, -math.log(4 * math.pi), rtol=1e-12)
    # Archimedes: each coordinate is uniform.
    assert stats.kstest(value[:, 0], stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert uniform.center.shape == (3,)
    with pytest.raises(ValueError, match="say how many"):
        uniform.draw()


def test_densities_on_and_off_the_sphere_are_not_compared():
    zeros = tf.zeros(3, "float64")
    with pytest.raises(
        ConfigurationError, match=r"lie on a sphere, and the prior is a Gaussian; set .*Uniform"
    ):
        closed_kl(made(3, 2.0), Gaussian(zeros, zeros))
