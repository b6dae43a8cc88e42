"""Products in full precision where single factors are rounded."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.kernels import full_matmul
from vaeflow.layers.quantizers.nearest import nearest_codes


def rounded(values):
    """To the 10 bits of TF32, the nearest."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


@pytest.fixture
def rounding(monkeypatch):
    """Multiplies as a GPU does with TF32: rounded factors, sums in float32."""
    plain = tf.matmul

    def matmul(one, other, **arguments):
        return plain(tf.constant(rounded(one)), tf.constant(rounded(other)), **arguments)

    monkeypatch.setattr(tf, "matmul", matmul)
    monkeypatch.setattr(full_matmul, "rounds_float32", lambda: True)


FACTORS = [np.random.default_rng(seed).normal(size=(40, 40)).astype(np.float32) for seed in range(2)]


@pytest.mark.parametrize("arguments", [{}, {"transpose_a": True}, {"transpose_b": True}])
def test_the_error_is_that_of_float32(rounding, arguments):
    one, other = (each.astype(np.float64) for each in FACTORS)
    exact = (one.T if "transpose_a" in arguments else one) @ (
        other.T if "transpose_b" in arguments else other
    )
    found = full_matmul.full_matmul(*map(tf.constant, FACTORS), **arguments)
    assert np.abs(found - exact).max() < 1e-5
    assert np.abs(tf.matmul(*map(tf.constant, FACTORS), **arguments) - exact).max() > 1e-3


def test_the_nearest_codes_are_those_of_exact_distances(rounding):
    rng = np.random.default_rng(2)
    vectors, codebook = (rng.normal(size=shape).astype(np.float32) for shape in ((500, 8), (200, 8)))
    found = nearest_codes(tf.constant(vectors), tf.constant(codebook)).numpy()
    distances = np.linalg.norm(vectors.astype(np.float64)[:, None] - codebook, axis=-1)
    chosen = np.take_along_axis(distances, found[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, distances.min(axis=1), atol=1e-5)


def test_on_a_cpu_it_is_the_plain_product():
    assert not full_matmul.rounds_float32()
    np.testing.assert_array_equal(full_matmul.full_matmul(*map(tf.constant, FACTORS)), tf.matmul(*FACTORS))
