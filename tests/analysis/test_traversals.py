"""Paths through the latent space against closed forms, and what is drawn against a NumPy model."""

import keras
import numpy as np
import pytest

from tests.fixtures import numpy_vae, tiny_runs
from vaeflow.analysis import traversals
from vaeflow.datasets import InMemorySplit
from vaeflow.layers import GaussianLikelihood
from vaeflow.models import VAE

FRACTIONS = np.linspace(0, 1, 9)
SHAPE = (4, 3, 2)


def vectors(seed, size, length=1.0):
    vector = np.random.default_rng(seed).normal(size=size)
    return length * vector / np.linalg.norm(vector)


def angles_to(first, path):
    cosine = path @ first / (np.linalg.norm(path, axis=1) * np.linalg.norm(first))
    return np.arccos(np.clip(cosine, -1, 1))


def white(start, end, fractions):
    """The formula as it is printed."""
    angle = np.arccos(start @ end / (np.linalg.norm(start) * np.linalg.norm(end)))
    fractions = fractions[:, None]
    return (np.sin((1 - fractions) * angle) * start + np.sin(fractions * angle) * end) / np.sin(angle)


@pytest.mark.parametrize("size", [2, 3, 20])
def test_slerp_is_whites_formula_for_vectors_of_equal_length(size):
    for seed in range(5):
        start, end = vectors(seed, size, 3.0), vectors(seed + 100, size, 3.0)
        path = traversals.slerp(start, end, FRACTIONS)
        np.testing.assert_allclose(path, white(start, end, FRACTIONS), atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(path, axis=1), 3.0, rtol=1e-12)


def test_slerp_turns_and_grows_evenly():
    start, end = vectors(0, 6, 2.0), vectors(1, 6, 5.0)
    path = traversals.slerp(start, end, FRACTIONS)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 2.0 + 3.0 * FRACTIONS, rtol=1e-12)
    np.testing.assert_allclose(angles_to(start, path), FRACTIONS * angles_to(start, end[None]), atol=1e-7)
    # A right angle in the plane, by hand.
    quarter = traversals.slerp(np.array([2.0, 0.0]), np.array([0.0, 4.0]), [0.5])
    np.testing.assert_allclose(quarter, [[3 / np.sqrt(2), 3 / np.sqrt(2)]], rtol=1e-12)


@pytest.mark.parametrize("path", traversals.PATHS)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_both_ends_are_exact(path, size):
    starts, ends = np.random.default_rng(0).normal(size=(2, 50, size)).astype(np.float32)
    latents = traversals.interpolate(starts, ends, 5, path)
    assert latents.shape == (50, 5, size)
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(latents[:, 0], starts)
    np.testing.assert_array_equal(latents[:, -1], ends)


def test_linear_interpolation():
    starts, ends = np.random.default_rng(0).normal(size=(2, 4, 3))
    latents = traversals.interpolate(starts, ends, 9, "linear")
    for fraction, points in zip(FRACTIONS, latents.swapaxes(0, 1)):
        np.testing.assert_allclose(points, starts + fraction * (ends - starts), atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turn", [0.0, 1e-12, 1e-8, 1e-4])
def test_nearly_parallel_vectors(turn, dtype):
    start = vectors(0, 5, 2.0)
    aside = vectors(1, 5)
    end = 1.5 * (start + turn * aside)
    path = traversals.slerp(start.astype(dtype), end.astype(dtype), FRACTIONS)
    straight = start + FRACTIONS[:, None] * (end - start)
    np.testing.assert_allclose(path, straight, atol=1e-6 + turn)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turn", [0.0, 1e-12, 1e-8, 1e-4])
@pytest.mark.parametrize("start", [vectors(0, 5, 2.0), np.array([0.0, 2.0]), np.array([2.0, 0.0, 0.0])])
def test_nearly_opposite_vectors_turn_at_full_length(start, turn, dtype):
    end = 1.5 * (-start + turn * vectors(1, len(start)))
    path = traversals.slerp(start.astype(dtype), end.astype(dtype), FRACTIONS).astype(float)
    lengths = 2.0 + FRACTIONS * (np.linalg.norm(end) - 2.0)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), lengths, rtol=1e-5)
    np.testing.assert_allclose(angles_to(start, path), np.pi * FRACTIONS, atol=2e-3)


def test_where_there_is_nothing_to_turn_the_path_is_straight():
    for start, end in ([[-1.0], [3.0]], [[2.0], [1.0]], [[0.0, 0.0], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]):
        start, end = np.array(start), np.array(end)
        path = traversals.slerp(start, end, FRACTIONS)
        np.testing.assert_allclose(path, start + FRACTIONS[:, None] * (end - start), atol=1e-15)


def test_a_traversal_changes_one_dimension_only():
    start = np.arange(4, dtype=np.float32) + 10
    values = np.array([-2.0, 0.0, 1.0], np.float32)
    latents = traversals.traverse(start, [2, 0], values)
    assert latents.shape == (2, 3, 4)
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(latents[0], [[10, 11, value, 13] for value in values])
    np.testing.assert_array_equal(latents[1], [[value, 11, 12, 13] for value in values])
    np.testing.assert_array_equal(start, [10, 11, 12, 13])


@pytest.fixture(scope="module")
def model():
    """A VAE in float64 that `numpy_vae` understands, whose weights are not small."""
    keras.utils.set_random_seed(0)
    made = VAE(3, likelihood=GaussianLikelihood(), dtype="float64", **numpy_vae.blocks(dtype="float64"))
    made.build((None, *SHAPE))
    for value in numpy_vae.weights(made):
        value.assign(2 * value.numpy() + 0.1)
    return made


def test_pictures_are_those_of_a_numpy_model(model, monkeypatch):
    monkeypatch.setattr(traversals, "_BATCH_SIZE", 4)
    inputs = numpy_vae.images(11, SHAPE)
    mean, _, latents, outputs = numpy_vae.forward(model, inputs, epsilon=0.0)
    assert np.min(outputs) < 0
    assert np.max(outputs) > 1
    tensor = keras.ops.convert_to_tensor(inputs)
    batch = {"images": tensor}
    np.testing.assert_allclose(traversals.posterior_centers(model, batch)["z"], mean, rtol=1e-6, atol=1e-6)
    clipped = np.clip(outputs, 0, 1)
    reconstructions, decoded = traversals.reconstruct(model, batch), traversals.decode(model, {"z": latents})
    for images in (reconstructions, decoded):
        assert images.dtype == np.float32
        np.testing.assert_allclose(images, clipped, rtol=1e-6, atol=1e-6)
    # Any number of axes before the latents'.
    shaped = traversals.decode_vectors(model, latents[:10].reshape(5, 2, 3))
    np.testing.assert_array_equal(shaped.reshape(10, *SHAPE), decoded[:10])


def test_a_bernoulli_mean_is_the_sigmoid_of_its_logit():
    keras.utils.set_random_seed(0)
    bernoulli = tiny_runs.model(num_latents=3)
    bernoulli.build((None, *tiny_runs.SHAPE))
    latents = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    logits = bernoulli.decode(latents).logits.numpy()
    decoded = traversals.decode(bernoulli, {"z": latents})
    np.testing.assert_allclose(decoded, numpy_vae.sigmoid(logits), rtol=1e-5)


def test_the_latents_with_the_largest_mean_kl_come_first():
    kl = np.array([[0.0, 5.0, 1.0], [0.0, 1.0, 2.0]])
    assert traversals.most_used(kl, np.zeros((2, 3)), most=2).tolist() == [1, 2]


def test_without_a_kl_the_latents_whose_centers_vary_most_come_first():
    centers = np.array([[0.0, 100.0, 1.0], [3.0, 100.0, 2.0]])
    assert traversals.most_used(None, centers, most=3).tolist() == [0, 2, 1]


def test_images_are_read_as_the_model_is_given_them():
    array = tiny_runs.images(20)

    def read_images(*arguments, **keywords):
        return traversals.read_batch(*arguments, **keywords)["images"].numpy()

    plain = read_images(InMemorySplit(array), [3, 0], "float64")
    np.testing.assert_allclose(plain, array[[3, 0]] / 255.0, rtol=1e-12)
    split = InMemorySplit(array, binarization="dynamic")
    first = read_images(split, range(20), "float32", seed=1)
    assert set(np.unique(first)) == {0.0, 1.0}
    assert abs(np.mean(first) - np.mean(array) / 255) < 0.05
    assert np.corrcoef(first.ravel(), array.ravel())[0, 1] > 0.5
    again = read_images(split, range(20), "float32", seed=1)
    np.testing.assert_array_equal(again, first)
    assert np.any(read_images(split, range(20), "float32", seed=2) != first)
