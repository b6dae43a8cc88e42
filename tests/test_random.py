"""Noise is a pure function of its key, and has its distribution."""

import itertools
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.numpy_noise import uniforms_by_hand
from vaeflow import random

# Of seed 1, stream "train", step 4.
GOLDEN_NORMAL = [
    [-0.6422370059953516, 0.2731801551791673, -0.5964343540842374],
    [-2.265809038249468, -0.15800869912480203, 0.5425363179732011],
]
GOLDEN_UNIFORM = [
    [0.6810625306097791, 0.6045251284958795, 0.6191175690619275],
    [0.06626336311455816, 0.8545868134824559, 0.46259540447499603],
]


def draw(kind, shape, dtype="float64", seed=1, stream="train", step=4, first_position=0, **arguments):
    with random.keyed(seed, stream, step, first_position):
        return getattr(random, kind)(shape, dtype, **arguments).numpy()


@pytest.mark.parametrize("width", [1, 4, 7])
def test_uniform_is_philox(width):
    expected = uniforms_by_hand(5, width, "1/train/0", step=4, first_position=3)
    np.testing.assert_allclose(draw("uniform", (5, width), first_position=3), expected, rtol=1e-15)


def test_gumbel_is_the_double_logarithm_of_philox_in_every_precision():
    expected = -np.log(-np.log(uniforms_by_hand(5, 7, "1/train/0", step=4, first_position=3)))
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-6)):
        found = draw("gumbel", (5, 7), dtype, first_position=3)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_normal_is_box_and_muller_of_philox(width):
    half = math.ceil(width / 2)
    uniforms = uniforms_by_hand(5, 2 * half, "1/train/0", step=4, first_position=3)
    radius, angle = np.sqrt(-2 * np.log(uniforms[:, :half])), 2 * np.pi * uniforms[:, half:]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :width]
    np.testing.assert_allclose(draw("normal", (5, width), first_position=3), expected, rtol=1e-12)


def test_the_numbers_of_this_version_of_the_project():
    """A change here changes every run: old runs are no longer reproduced."""
    np.testing.assert_allclose(draw("normal", (2, 3)), GOLDEN_NORMAL, rtol=1e-12)
    np.testing.assert_allclose(draw("uniform", (2, 3)), GOLDEN_UNIFORM, rtol=1e-12)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("shape", [(1,), (4,), (3,), (5, 5, 3), (20,)])
@pytest.mark.parametrize("num_replicas", [2, 3, 6])
def test_a_replica_draws_its_slice_of_the_global_batch(kind, shape, num_replicas):
    whole = draw(kind, (12, *shape))
    share = 12 // num_replicas
    parts = [draw(kind, (share, *shape), first_position=first) for first in range(0, 12, share)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("first_position", [0, 1, 5, 11, 2**31, 2**40 + 3])
def test_an_example_draws_the_same_wherever_its_batch_starts(first_position):
    behind = draw("normal", (3, 7), first_position=first_position + 1)
    np.testing.assert_array_equal(draw("normal", (4, 7), first_position=first_position)[1:], behind)


def test_examples_differ():
    whole = draw("uniform", (64, 7))
    assert len(np.unique(whole)) == whole.size


def test_later_draws_are_sliced_too():
    def two_draws(count, first_position):
        with random.keyed(1, "train", 4, first_position):
            return [random.normal((count, 7)).numpy(), random.uniform((count, 3)).numpy()]

    for whole, part in zip(two_draws(6, 0), two_draws(2, 4)):
        np.testing.assert_array_equal(whole[4:], part)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_float32_gives_the_numbers_of_float64(kind):
    single, double = draw(kind, (500, 7), "float32"), draw(kind, (500, 7))
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, atol=2e-4 if kind == "normal" else 1e-7)
    assert np.median(np.abs(single - double)) < 1e-7


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_float32_rounded(dtype):
    rounded = tf.cast(draw("normal", (50, 3), "float32"), dtype).numpy()
    np.testing.assert_array_equal(draw("normal", (50, 3), dtype), rounded)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_functions_draw_the_same_numbers(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def compiled(step, first_position):
        with random.keyed(1, "train", step, first_position):
            return random.normal((6, 7), "float64"), random.uniform((6, 3), "float64")

    for step, first_position in ((4, 0), (5, 9)):
        normal, uniform = compiled(tf.constant(step, tf.int64), tf.constant(first_position))
        with random.keyed(1, "train", step, first_position):
            np.testing.assert_allclose(normal, random.normal((6, 7), "float64"), atol=1e-12)
            np.testing.assert_allclose(uniform, random.uniform((6, 3), "float64"), atol=1e-12)


def test_the_number_of_examples_may_be_a_tensor():
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def like(images):
        with random.keyed(1, "train", 4):
            return random.normal((tf.shape(images)[0], 3), "float64")

    np.testing.assert_array_equal(like(tf.zeros((5, 3))), draw("normal", (5, 3)))


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize(
    "other", [{"seed": 2}, {"stream": "evaluation"}, {"step": 5}, {"first_position": 64}], ids=str
)
def test_another_key_gives_other_numbers(kind, other):
    one, two = draw(kind, (64, 8)), draw(kind, (64, 8), **other)
    assert not np.intersect1d(one, two).size
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.2


def test_the_second_draw_differs_from_the_first():
    with random.keyed(1, "train", 4):
        one, two = random.uniform((64, 8), "float64").numpy(), random.uniform((64, 8), "float64").numpy()
    assert not np.intersect1d(one, two).size


def test_a_key_ends_with_its_block_and_may_be_nested():
    with random.keyed(1, "train", 4):
        first = random.normal((2, 3)).numpy()
        with random.keyed(2, "other", 0):
            random.normal((2, 3))
        second = random.normal((2, 3)).numpy()
    with random.keyed(1, "train", 4):
        np.testing.assert_array_equal(random.normal((2, 3)), first)
        np.testing.assert_array_equal(random.normal((2, 3)), second)


def test_shared_noise_is_the_same_on_every_replica():
    np.testing.assert_array_equal(
        draw("normal", (4, 3), shared=True, first_position=8), draw("normal", (4, 3), shared=True)
    )


def largest_gap(values, cumulative):
    """The Kolmogorov–Smirnov distance of a sample from a distribution, times √n."""
    expected = cumulative(np.sort(values))
    ranks = np.arange(len(values) + 1) / len(values)
    return max(np.max(ranks[1:] - expected), np.max(expected - ranks[:-1])) * math.sqrt(len(values))


def test_uniform_noise_is_uniform():
    values = draw("uniform", (5000, 7)).ravel()
    assert values.min() > 0
    assert values.max() <= 1
    assert largest_gap(values, lambda x: x) < 1.95  # Exceeded by chance in 1 of 1000 seeds.


def test_normal_noise_is_normal():
    values = draw("normal", (5000, 7)).ravel()
    error = 1 / math.sqrt(len(values))
    assert abs(values.mean()) < 4 * error
    assert abs(values.var() - 1) < 4 * math.sqrt(2) * error
    assert abs((values**3).mean()) < 4 * math.sqrt(15) * error
    assert abs((values**4).mean() - 3) < 4 * math.sqrt(96) * error
    assert largest_gap(values, np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))) < 1.95


def test_columns_and_examples_are_uncorrelated():
    values = draw("normal", (4000, 8))
    assert np.abs(np.corrcoef(values.T) - np.eye(8)).max() < 5 / math.sqrt(4000)
    assert abs(np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]) < 5 / math.sqrt(28000)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_several_replicas_outside_a_key_are_refused(kind, monkeypatch):
    context = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: context)
    with pytest.raises(RuntimeError, match="the same on each of the 2 replicas"):
        getattr(random, kind)((2, 3))
    with random.keyed(1, "train", 4):
        getattr(random, kind)((2, 3))


def test_outside_a_key_keras_seeds_the_noise():
    keras.utils.set_random_seed(3)
    first = random.normal((2, 3)).numpy()
    assert not np.array_equal(first, random.normal((2, 3)).numpy())
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(random.normal((2, 3)), first)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_each_sample_of_an_example_has_noise_of_its_own_on_any_replica(kind):
    """Rows are numbered by example and sample: drawn as if rows were examples, a replica's would be off."""

    def draw_samples(num_examples, first_position):
        with random.keyed(1, "train", 4, first_position), random.samples(3):
            return getattr(random, kind)((3 * num_examples, 5), "float64").numpy()

    whole = draw_samples(6, 0)
    assert len(np.unique(whole)) == whole.size
    for first in (0, 2, 4):
        np.testing.assert_allclose(draw_samples(2, first), whole[3 * first : 3 * first + 6], rtol=1e-12)


def test_parts_of_samples_draw_what_all_draw_at_once():
    with random.keyed(1, "train", 4, 2), random.samples(3):
        whole = random.normal((12, 5)).numpy()
    with random.keyed(1, "train", 4, 2), random.samples(3):
        parts = [random.normal((last - first, 5)) for first, last in random.in_parts([(0, 6), (6, 12)])]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6)


def test_draws_after_samples_belong_to_examples_again():
    with random.keyed(1, "train", 4, 2):
        with random.samples(3):
            random.normal((12, 5))
        after = random.normal((4, 5)).numpy()
    with random.keyed(1, "train", 4, 2):
        random.normal((4, 5))
        np.testing.assert_array_equal(random.normal((4, 5)), after)


VALUES = np.arange(6 * 4 * 2, dtype=np.float64).reshape(6, 4, 2) + 1


def drawn_rows(first, last, num_rows=9, batch_size=6):
    with random.keyed(1, "train", 4, first, batch_size):
        return random.drawn_rows(tf.constant(VALUES[first:last]), num_rows).numpy()


def test_the_rows_that_are_drawn_are_those_of_philox():
    noise = uniforms_by_hand(9, 1, "1/train/0", step=4, first_position=0)[:, 0]
    np.testing.assert_array_equal(
        drawn_rows(0, 6), VALUES.reshape(24, 2)[np.ceil(24 * noise).astype(int) - 1]
    )


@pytest.mark.parametrize("edges", [(0, 2, 6), (0, 1, 2, 3, 4, 5, 6)])
def test_the_rows_of_all_parts_add_up_to_those_of_the_whole_batch(edges):
    parts = [drawn_rows(first, last) for first, last in itertools.pairwise(edges)]
    np.testing.assert_array_equal(sum(parts), drawn_rows(0, 6))
    # Each row is in one part, and 0 in the others.
    np.testing.assert_array_equal(sum((part[:, 0] > 0).astype(int) for part in parts), np.ones(9))


def test_each_row_is_drawn_as_often_as_the_others():
    rows = drawn_rows(0, 6, 24_000)
    _, times = np.unique(rows, axis=0, return_counts=True)
    # A binomial deviation of 31.
    np.testing.assert_allclose(times, np.full(24, 1000), atol=4 * 31)


def test_without_a_key_the_rows_are_those_of_the_batch_at_hand():
    rows = random.drawn_rows(tf.constant(VALUES), 50).numpy()
    assert {tuple(row) for row in rows} <= {tuple(row) for row in VALUES.reshape(24, 2)}
