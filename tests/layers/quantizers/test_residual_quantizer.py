"""The residual quantizer, from the equations of arXiv:2203.01941."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.numpy_quantizers import brute_force
from vaeflow.errors import ConfigurationError
from vaeflow.layers import ResidualQuantizer
from vaeflow.models.passes import Draw

FEATURES = np.random.default_rng(0).normal(size=(3, 4, 2, 6))


def made(**arguments):
    settings = {"num_codes": 7, "depth": 3, "dtype": "float64", "initial_range": 0.5} | arguments
    posterior = ResidualQuantizer(5, **settings)
    posterior.build((None, 4, 2, 6))
    return posterior


def by_hand(vectors, codebooks):
    """Eq. 2 to 4: codes `[…, G]`, what each was chosen for, and the sums of embeddings after each."""
    left, codes, targets, sums = vectors, [], [], [0.0]
    for codebook in codebooks:
        codes.append(brute_force(left, codebook))
        targets.append(left)
        left = left - codebook[codes[-1]]
        sums.append(sums[-1] + codebook[codes[-1]])
    return np.stack(codes, axis=-1), targets, sums[1:]


def codebooks_of(posterior):
    return [posterior.codebook_of(group).codebook.numpy() for group in range(posterior.depth)]


@pytest.mark.parametrize("shared", [True, False])
def test_each_code_is_the_nearest_to_what_is_left_and_the_latents_are_the_sum(shared):
    posterior = made(shared=shared)
    assert len(posterior.codebooks) == (1 if shared else 3)
    assert posterior.code_sizes == (7, 7, 7)
    vectors = posterior(FEATURES)
    distribution = posterior.distribution(vectors)
    codes, targets, sums = by_hand(vectors.numpy(), codebooks_of(posterior))
    np.testing.assert_array_equal(distribution.codes, codes)
    assert all(len(np.unique(codes[..., group])) > 1 for group in range(3))
    np.testing.assert_allclose(distribution.center, sums[-1], rtol=1e-12)
    np.testing.assert_allclose(distribution.vectors, np.stack(targets, axis=-2), rtol=1e-12)
    np.testing.assert_array_equal(posterior.embed_codes(distribution.codes), distribution.center)


def test_the_commitment_is_to_the_sums_of_the_codes_so_far():
    """Eq. 8."""
    posterior = made()
    vectors = posterior(FEATURES)
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        distribution = posterior.distribution(vectors)
        term = posterior.terms(Draw(distribution.center, lambda: None, distribution), 0)["commitment_loss"]
    _, _, sums = by_hand(vectors.numpy(), codebooks_of(posterior))
    expected = sum(((vectors.numpy() - each) ** 2).sum(axis=-1) for each in sums).mean(axis=(1, 2))
    np.testing.assert_allclose(term.value, expected, rtol=1e-12)
    gradient = sum(2 * (vectors.numpy() - each) / 8 for each in sums)
    np.testing.assert_allclose(tape.gradient(term.value, vectors), gradient, rtol=1e-10)


def test_a_shared_codebook_follows_the_vectors_of_all_depths():
    posterior = made()
    vectors = posterior(FEATURES)
    distribution = posterior.distribution(vectors)
    codes, targets, _ = by_hand(vectors.numpy(), codebooks_of(posterior))
    update = posterior.updates(Draw(distribution.center, lambda: None, distribution), 0)["codebooks"]
    (sums,) = update.statistics
    chosen = [np.eye(7)[codes[..., group]].reshape(-1, 7) for group in range(3)]
    np.testing.assert_array_equal(sums["counts"], sum(each.sum(axis=0) for each in chosen))
    expected = sum(each.T @ target.reshape(-1, 5) for each, target in zip(chosen, targets, strict=True))
    np.testing.assert_allclose(sums["sums"], expected, rtol=1e-10, atol=1e-14)


def test_the_codebook_of_each_depth_gets_the_gradient_of_its_own_distances():
    posterior = made(shared=False, update="gradient")
    vectors = posterior(FEATURES)
    with tf.GradientTape() as tape:
        distribution = posterior.distribution(vectors)
        term = posterior.terms(Draw(distribution.center, lambda: None, distribution), 0)["codebook_loss"]
    gradients = tape.gradient(term.value, [each.codebook.value for each in posterior.codebooks])
    codes, targets, _ = by_hand(vectors.numpy(), codebooks_of(posterior))
    for group, codebook in enumerate(codebooks_of(posterior)):
        expected = np.zeros_like(codebook)
        np.add.at(expected, codes[..., group], 2 * (codebook[codes[..., group]] - targets[group]) / 8)
        np.testing.assert_allclose(gradients[group], expected, rtol=1e-10)


def test_from_data_each_depth_begins_at_what_the_ones_before_leave():
    posterior = made(shared=False, start="data")
    vectors = np.random.default_rng(1).normal(size=(40, 5))
    posterior.begin_at(tf.constant(vectors))
    first, second, _ = codebooks_of(posterior)
    np.testing.assert_array_equal(first, vectors[:7])
    left = vectors - first[brute_force(vectors, first)]
    np.testing.assert_array_equal(second, left[:7])


def test_a_shared_codebook_begins_with_a_part_for_each_depth():
    posterior = made(start="data")
    vectors = np.random.default_rng(1).normal(size=(40, 5))
    posterior.begin_at(tf.constant(vectors))
    values = codebooks_of(posterior)[0]
    np.testing.assert_array_equal(values[:2], vectors[:2])
    left = vectors - values[brute_force(vectors, values[:2])]
    np.testing.assert_array_equal(values[2:4], left[:2])
    np.testing.assert_array_equal(posterior.codebooks[0].sums, values)


def test_another_distance_than_the_euclidean_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"`ResidualQuantizer.distance` must be 'euclidean', got 'cosine'"
    ):
        made(distance="cosine")


@pytest.mark.parametrize(
    ("setting", "value"), [("depth", 0), ("shared", 1), ("num_codes", 0), ("ema_decay", 2)]
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`ResidualQuantizer.{setting}` must be"):
        ResidualQuantizer(**{setting: value})
