"""Codes held in memory: what they are stored as, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import InMemoryCodes
from vaeflow.errors import DataError

CODES = np.arange(12).reshape(2, 1, 3, 2) % [3, 5]


def test_codes_are_int32_with_the_sizes_of_their_groups():
    split = InMemoryCodes(CODES, [3, 5], np.array([1, 0]), ["kind"])
    assert (split.content, split.dtype, split.shape, split.code_sizes) == (
        "codes",
        "int32",
        (1, 3, 2),
        (3, 5),
    )
    found = split.examples(tf.constant([1, 0], tf.int64))
    assert found.dtype == tf.int32
    np.testing.assert_array_equal(found, CODES[::-1])
    assert split.labels(tf.constant([0], tf.int64)).numpy().tolist() == [[1]]
    assert split.fingerprint().startswith("2 codes of 1 x 3 x 2, int32, content ")


def test_other_codes_have_another_fingerprint():
    assert InMemoryCodes(CODES, [3, 5]).fingerprint() != InMemoryCodes(CODES[::-1], [3, 5]).fingerprint()


@pytest.mark.parametrize(
    ("codes", "sizes", "message"),
    [
        (CODES.astype(float), [3, 5], r"must be a NumPy array \[N, h, w, G\] of integers, got"),
        (CODES[..., 0], [3], r"must be a NumPy array \[N, h, w, G\] of integers, got"),
        (CODES, [5], "holds 2 codes for each place, and `InMemoryCodes.code_sizes` names 1; give one size"),
        (CODES, [3, 4], "example 1 holds the code 4 of group 1; expected 0 to 3, as `InMemoryCodes.code_"),
        (CODES - 1, [3, 5], "example 0 holds the code -1 of group 0; expected 0 to 2"),
    ],
)
def test_what_are_no_codes_is_refused(codes, sizes, message):
    with pytest.raises(DataError, match=message):
        InMemoryCodes(codes, sizes)
