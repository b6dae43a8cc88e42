"""The vector quantizer and the uniform prior over codes, from the equations of arXiv:1711.00937."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions import Gaussian, UniformOverCodes, closed_kl, has_density, is_discrete
from vaeflow.errors import ConfigurationError
from vaeflow.layers import UniformCodes, VectorQuantizer
from vaeflow.layers.quantizers.nearest import nearest_codes
from vaeflow.models import VAE
from vaeflow.models.passes import Draw
from vaeflow.schedules import LinearSchedule

FEATURES = np.random.default_rng(0).normal(size=(3, 4, 2, 6))


def made(num_latents=5, num_codes=7, **arguments):
    posterior = VectorQuantizer(num_latents, num_codes, **{"dtype": "float64"} | arguments)
    posterior.build((None, 4, 2, 6))
    return posterior


def drawn(posterior, features=FEATURES):
    distribution = posterior.distribution(posterior(features))
    value, log_prob = distribution.draw()
    assert log_prob is None
    return Draw(value, lambda: None, distribution)


def brute_force(vectors, codebook):
    """Eq. 1: all distances; the first of equals."""
    vectors, codebook = (np.asarray(each, np.float64) for each in (vectors, codebook))
    return np.argmin(((vectors[..., None, :] - codebook) ** 2).sum(axis=-1), axis=-1)


@pytest.mark.parametrize(("shape", "num_codes"), [((2, 3, 4, 5), 17), ((6, 1), 1), ((2, 4, 3), 40)])
def test_the_nearest_codes_are_those_of_all_distances(shape, num_codes):
    rng = np.random.default_rng(1)
    vectors, codebook = rng.normal(size=shape), rng.normal(size=(num_codes, shape[-1]))
    found = nearest_codes(tf.constant(vectors), tf.constant(codebook))
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, brute_force(vectors, codebook))


def test_far_from_0_single_precision_still_tells_codes_apart():
    """|e|² alone is 3e8 there, of which a float32 keeps 7 digits."""
    rng = np.random.default_rng(2)
    vectors, codebook = (1e4 + rng.normal(size=shape).astype(np.float32) for shape in ((50, 3), (20, 3)))
    found = nearest_codes(tf.constant(vectors), tf.constant(codebook)).numpy()
    distances = np.linalg.norm(vectors.astype(np.float64)[:, None] - codebook, axis=-1)
    chosen = np.take_along_axis(distances, found[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, distances.min(axis=1), atol=5e-3)


def test_of_equally_near_codes_the_first_is_taken():
    codebook = tf.constant(2 * [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    vectors = tf.constant([[0.0, 0.0], [1.0, 0.0], [-0.5, -0.5], [0.0, 3.0]])
    np.testing.assert_array_equal(nearest_codes(vectors, codebook), [0, 0, 1, 2])


def test_the_latents_are_exactly_the_embeddings_of_the_codes():
    posterior = made()
    draw = drawn(posterior)
    kernel, bias = (variable.numpy() for variable in posterior.projection.variables)
    vectors = FEATURES @ kernel[0, 0] + bias
    codes = brute_force(vectors, posterior.codebooks[0].codebook)
    assert len(np.unique(codes)) > 2
    np.testing.assert_array_equal(draw.posterior.parameters["codes"], codes[..., None])
    np.testing.assert_array_equal(draw.value, posterior.codebooks[0].codebook.numpy()[codes])
    np.testing.assert_array_equal(posterior.embed_codes(draw.posterior.codes), draw.value)
    np.testing.assert_array_equal(draw.posterior.center, draw.value)
    assert is_discrete(draw.posterior)
    assert not has_density(draw.posterior)


def test_the_gradient_goes_straight_through_to_the_vectors_and_not_to_the_codebook():
    posterior, weights = made(), np.random.default_rng(3).normal(size=(3, 4, 2, 5))
    vectors = posterior(FEATURES)
    with tf.GradientTape() as tape:
        tape.watch([vectors, posterior.codebooks[0].codebook.value])
        loss = tf.reduce_sum(weights * posterior.distribution(vectors).draw()[0])
    to_vectors, to_codebook = tape.gradient(loss, [vectors, posterior.codebooks[0].codebook.value])
    np.testing.assert_array_equal(to_vectors, weights)
    assert to_codebook is None


def test_the_commitment_is_the_mean_over_places_of_squared_distances_and_moves_the_vectors_alone():
    posterior = made(commitment_weight=LinearSchedule(0.0, 2.0, 10))
    vectors = posterior(FEATURES)
    with tf.GradientTape() as tape:
        tape.watch([vectors, posterior.codebooks[0].codebook.value])
        distribution = posterior.distribution(vectors)
        term = posterior.terms(Draw(distribution.center, lambda: None, distribution), 5)["commitment_loss"]
    difference = (
        vectors
        - posterior.codebooks[0].codebook.numpy()[brute_force(vectors, posterior.codebooks[0].codebook)]
    )
    np.testing.assert_allclose(term.value, (difference.numpy() ** 2).sum(axis=-1).mean(axis=(1, 2)))
    assert float(term.weight) == 1.0
    to_vectors, to_codebook = tape.gradient(term.value, [vectors, posterior.codebooks[0].codebook.value])
    np.testing.assert_allclose(to_vectors, 2 * difference / 8, rtol=1e-12)
    assert to_codebook is None


def test_the_averages_follow_the_appendix_for_several_steps():
    """Appendix A.1: N ← γ N + (1 − γ) n, m ← γ m + (1 − γ) Σ z, e = m / N; N smoothed by ε."""
    decay, epsilon = 0.8, 0.01
    posterior = made(num_codes=9, ema_decay=decay, epsilon=epsilon)
    codebook = posterior.codebooks[0].codebook.numpy()
    np.testing.assert_array_equal(posterior.codebooks[0].sums, codebook)
    counts, sums = np.ones(9), codebook.copy()
    for step in range(3):
        features = np.random.default_rng(step).normal(size=(2, 4, 2, 6))
        vectors = posterior(features).numpy().reshape(-1, 5)
        codes = brute_force(vectors, codebook)
        for code in range(9):
            counts[code] = decay * counts[code] + (1 - decay) * np.sum(codes == code)
            sums[code] = decay * sums[code] + (1 - decay) * vectors[codes == code].sum(axis=0)
        total = counts.sum()
        codebook = sums / ((counts + epsilon) / (total + 9 * epsilon) * total)[:, None]
        update = posterior.updates(drawn(posterior, features), step)["codebooks"]
        for variable, value in update.new_values(update.statistics):
            variable.assign(value)
        np.testing.assert_allclose(posterior.codebooks[0].counts, counts, rtol=1e-12)
        np.testing.assert_allclose(posterior.codebooks[0].codebook, codebook, rtol=1e-12)
    assert len(np.unique(codes)) < 9  # One that nobody chose is finite, too.
    assert not posterior.codebooks[0].codebook.trainable


def test_nothing_moves_a_codebook_whose_codes_are_where_their_vectors_are():
    posterior = made(num_codes=2, num_latents=1, epsilon=1e-12)
    values = np.array([[1.0], [-2.0]])
    posterior.codebooks[0].codebook.assign(values)
    posterior.codebooks[0].sums.assign(values)
    distribution = posterior.distribution(tf.constant(values[[0, 0, 0, 1]].reshape(1, 2, 2, 1)))
    update = posterior.updates(Draw(distribution.center, lambda: None, distribution), 0)["codebooks"]
    np.testing.assert_allclose(update.new_values(update.statistics)[-1][1], values, rtol=1e-9)


def test_the_kl_to_uniform_codes_is_the_logarithm_of_their_number_at_each_place():
    posterior = made()
    distribution = posterior.distribution(posterior(FEATURES))
    kl = closed_kl(distribution, UniformOverCodes((7,), (4, 2), posterior.embed_codes))
    np.testing.assert_allclose(kl, np.full((3, 8), np.log(7)), rtol=1e-12)
    assert closed_kl(distribution, Gaussian(tf.zeros(5), tf.zeros(5))) is None


def uniform(num_codes=3, places=(4, 2)):
    return UniformOverCodes((num_codes,), places, lambda codes: tf.cast(codes, tf.float64))


def test_the_prior_draws_each_code_as_often_as_the_others():
    with random.keyed(1, "test", 0):
        value, log_prob = uniform().draw(4000)
    assert log_prob is None
    assert value.shape == (4000, 4, 2, 1)
    counts = np.bincount(value.numpy().astype(int).ravel(), minlength=3)
    # A binomial deviation of 84.
    np.testing.assert_allclose(counts, 32_000 / 3, atol=4 * 84)
    # At each place, of 30; and neighbours do not depend on one another.
    for row, column in np.ndindex(4, 2):
        counts = np.bincount(value[:, row, column, 0].numpy().astype(int))
        np.testing.assert_allclose(counts, 4000 / 3, atol=130)
    pairs = np.corrcoef(value.numpy().reshape(4000, 8).T) - np.eye(8)
    np.testing.assert_allclose(pairs, 0, atol=4 / np.sqrt(4000))


def test_the_codes_of_a_row_depend_on_its_position_only():
    with random.keyed(1, "test", 0):
        whole, _ = uniform(5).draw(6)
    with random.keyed(1, "test", 0, first_position=2):
        part, _ = uniform(5).draw(4)
        shared, _ = uniform(5).draw(4, shared=True)
    np.testing.assert_array_equal(part, whole[2:])
    with random.keyed(1, "test", 0):
        uniform(5).draw(4)
        np.testing.assert_array_equal(shared, uniform(5).draw(4)[0])


@pytest.mark.parametrize(("noise", "code"), [(0.0, 0), (1e-12, 0), (0.4999, 0), (0.5001, 1), (1.0, 1)])
def test_the_ends_of_the_noise_give_codes_that_exist(monkeypatch, noise, code):
    monkeypatch.setattr(random, "uniform", lambda shape, dtype, shared: tf.fill(shape, tf.cast(noise, dtype)))
    np.testing.assert_array_equal(uniform(2).draw(1)[0], np.full((1, 4, 2, 1), code))


def test_the_center_of_the_prior_is_one_of_its_codes_at_each_place():
    np.testing.assert_array_equal(uniform().center, np.zeros((4, 2, 1)))
    with pytest.raises(ValueError, match="UniformOverCodes has no rows of its own"):
        uniform().draw()


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_it_computes_in_single_precision_at_least(dtype):
    keras.config.set_dtype_policy("mixed_bfloat16")
    posterior = made(dtype=dtype)
    distribution = posterior.distribution(posterior(FEATURES.astype("float32")))
    assert {variable.dtype for variable in posterior.variables} == {"float32"}
    assert distribution.center.dtype == distribution.vectors.dtype == tf.float32


def test_uniform_codes_need_a_posterior_of_codes():
    model = VAE(3, prior=UniformCodes())
    model.build((None, 4, 4, 1))
    message = r"UniformCodes needs a posterior of codes, got GaussianPosterior; set `VAE.posterior`"
    with pytest.raises(ConfigurationError, match=message):
        model.sample(2)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_codes", 0),
        ("num_latents", 0),
        ("commitment_weight", -1.0),
        ("ema_decay", 1.0),
        ("epsilon", 0.0),
        ("initial_range", 0.0),
    ],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`VectorQuantizer.{setting}` must be"):
        VectorQuantizer(**{setting: value})
