"""Counts of codes, and what is said of them."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers.quantizers.usage import code_counts, usage_by_group, usage_of

CODES = np.random.default_rng(0).integers(0, (3, 5), (6, 4, 2, 2)).astype(np.int32)


def test_each_code_is_counted_as_often_as_its_row_counts():
    weights = np.array([1, 0, 1, 2, 0, 1])
    counts = code_counts(tf.constant(CODES), (3, 5), tf.float64, tf.constant(weights))
    repeated = np.repeat(CODES, weights, axis=0)
    for group, size in enumerate((3, 5)):
        np.testing.assert_array_equal(
            counts[group], np.bincount(repeated[..., group].ravel(), minlength=size)
        )


def test_the_perplexity_is_the_number_of_codes_that_are_equally_frequent():
    found = usage_of(tf.constant([4.0, 0.0, 4.0, 4.0], tf.float64))
    assert float(found["perplexity"]) == pytest.approx(3.0, rel=1e-12)
    assert (float(found["usage"]), float(found["dead"])) == (0.75, 1.0)
    counts = np.array([1.0, 2.0, 5.0])
    frequencies = counts / 8
    expected = np.prod(frequencies**-frequencies)
    assert float(usage_of(counts)["perplexity"]) == pytest.approx(expected, rel=1e-12)


def test_several_groups_are_numbered():
    counts = code_counts(tf.constant(CODES), (3, 5), tf.float64)
    assert list(usage_by_group(counts))[:4] == [
        "codes/perplexity/00",
        "codes/usage/00",
        "codes/dead/00",
        "codes/perplexity/01",
    ]
    assert list(usage_by_group(counts[:1], "codes/top")) == [
        "codes/top/perplexity",
        "codes/top/usage",
        "codes/top/dead",
    ]
