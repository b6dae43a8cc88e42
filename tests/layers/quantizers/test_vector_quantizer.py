"""The vector quantizer, from the equations of arXiv:1711.00937."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.numpy_quantizers import brute_force
from vaeflow.distributions import Gaussian, UniformOverCodes, closed_kl, has_density, is_discrete
from vaeflow.errors import ConfigurationError
from vaeflow.layers import VectorQuantizer
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


def test_the_second_term_of_eq_3_moves_a_codebook_with_a_gradient_and_nothing_else():
    posterior = made(update="gradient", codebook_weight=LinearSchedule(0.0, 2.0, 10), commitment_weight=3.0)
    (codebook,) = posterior.codebooks
    vectors = posterior(FEATURES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(vectors)
        distribution = posterior.distribution(vectors)
        terms = posterior.terms(Draw(distribution.center, lambda: None, distribution), 5)
    values = codebook.codebook.numpy()
    codes = brute_force(vectors, values)
    difference = vectors.numpy() - values[codes]
    for name in ("commitment_loss", "codebook_loss"):
        np.testing.assert_allclose(terms[name].value, (difference**2).sum(axis=-1).mean(axis=(1, 2)))
    assert (float(terms["commitment_loss"].weight), float(terms["codebook_loss"].weight)) == (3.0, 1.0)
    expected = np.zeros_like(values)
    np.add.at(expected, codes, -2 * difference / 8)
    loss = terms["codebook_loss"].value
    np.testing.assert_allclose(tape.gradient(loss, codebook.codebook.value), expected, rtol=1e-12)
    assert tape.gradient(loss, vectors) is None
    assert tape.gradient(terms["commitment_loss"].value, codebook.codebook.value) is None
    assert tape.gradient(distribution.center, codebook.codebook.value) is None
    assert codebook.codebook.trainable
    update = posterior.updates(Draw(distribution.center, lambda: None, distribution), 5)["codebooks"]
    assert update.new_values(update.statistics) == []


def test_the_cosine_is_that_of_unit_vectors():
    posterior = made(distance="cosine")
    vectors, codebook = posterior(FEATURES).numpy(), posterior.codebooks[0].codebook.numpy()
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    embeddings = codebook / np.linalg.norm(codebook, axis=-1, keepdims=True)
    codes = np.argmax(unit @ embeddings.T, axis=-1)
    assert np.any(codes != brute_force(vectors, codebook))
    draw = drawn(posterior)
    np.testing.assert_array_equal(draw.posterior.codes[..., 0], codes)
    np.testing.assert_allclose(draw.value, embeddings[codes], rtol=1e-12)
    np.testing.assert_allclose(draw.posterior.vectors[..., 0, :], unit, rtol=1e-12)


def test_the_gradient_of_the_cosine_goes_through_the_division_by_the_norm():
    posterior, weights = made(distance="cosine"), np.random.default_rng(3).normal(size=(3, 4, 2, 5))
    vectors = posterior(FEATURES)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        loss = tf.reduce_sum(weights * posterior.distribution(vectors).draw()[0])
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = vectors / norm
    expected = (weights - unit * (weights * unit).numpy().sum(axis=-1, keepdims=True)) / norm
    np.testing.assert_allclose(tape.gradient(loss, vectors), expected, rtol=1e-10)


def test_each_group_of_numbers_has_its_own_codebook():
    posterior = made(num_latents=6, num_groups=2)
    assert posterior.code_sizes == (7, 7)
    vectors, draw = posterior(FEATURES).numpy(), drawn(posterior)
    for group, codebook in enumerate(posterior.codebooks):
        part, values = vectors[..., 3 * group : 3 * group + 3], codebook.codebook.numpy()
        codes = brute_force(part, values)
        np.testing.assert_array_equal(draw.posterior.codes[..., group], codes)
        np.testing.assert_array_equal(draw.value[..., 3 * group : 3 * group + 3], values[codes])
    assert np.any(posterior.codebooks[0].codebook != posterior.codebooks[1].codebook)
    update = posterior.updates(draw, 0)["codebooks"]
    assert [int(tf.reduce_sum(sums["counts"])) for sums in update.statistics] == [24, 24]


def test_groups_must_divide_a_vector():
    with pytest.raises(
        ConfigurationError, match=r"`VectorQuantizer.num_groups` must divide the 5 numbers of a"
    ):
        made(num_groups=2)


def test_shorter_embeddings_are_expanded_to_the_latents():
    """The factorized codes of arXiv:2110.04627, section 3.2."""
    posterior = made(vector_size=2)
    draw = drawn(posterior)
    codes = brute_force(posterior(FEATURES), posterior.codebooks[0].codebook)
    kernel, bias = (variable.numpy() for variable in posterior.expansion.variables)
    expected = posterior.codebooks[0].codebook.numpy()[codes] @ kernel + bias
    np.testing.assert_allclose(draw.value, expected, rtol=1e-12)
    assert draw.value.shape == (3, 4, 2, 5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_codes", 0),
        ("num_latents", 0),
        ("num_groups", 0),
        ("vector_size", 0),
        ("commitment_weight", -1.0),
        ("codebook_weight", "1"),
        ("update", "adam"),
        ("distance", "manhattan"),
        ("ema_decay", 1.0),
        ("epsilon", 0.0),
        ("restart_below", 1.0),
        ("start", "random"),
        ("num_start_images", 0),
        ("initial_range", 0.0),
    ],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`VectorQuantizer.{setting}` must be"):
        VectorQuantizer(**{setting: value})
