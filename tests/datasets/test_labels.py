"""Labels: what an array of them may be, and what every split gives a model."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import InMemorySplit, RenderedSprites, Split, labels
from vaeflow.datasets.binarization import binarize_split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.parts import part_of
from vaeflow.datasets.pipeline import readable_errors
from vaeflow.errors import DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 3, 2, 1)).astype(np.uint8)
FACTORS = np.stack([np.arange(12) % 4, np.arange(12) % 3, np.arange(12)], 1)
NAMES = ("shape", "hue", "place")


class Streamed(Split):
    """Images and factors of arrays, as a split that is not in memory and says no sizes."""

    def __init__(self, factors, factor_names=NAMES):
        super().__init__(len(IMAGES), IMAGES.shape[1:], "uint8")
        self.factor_names = factor_names
        self._values = factors

    def examples(self, indices):
        return tf.gather(IMAGES, indices)

    def factors(self, indices):
        return None if self._values is None else self._values[indices]


def in_memory():
    return InMemorySplit(IMAGES, FACTORS, NAMES, factor_sizes=(5, 3, 12))


# Name -> a split, and what it should say of the examples 0 to 11.
SPLITS = {
    "in memory": lambda: (in_memory(), FACTORS, (5, 3, 12)),
    "streamed": lambda: (Streamed(FACTORS), FACTORS, (4, 3, 12)),
    "cached": lambda: (CachedSplit(in_memory()), FACTORS, (5, 3, 12)),
    "binarized": lambda: (binarize_split(Streamed(FACTORS), "train"), FACTORS, (4, 3, 12)),
    "binarized in memory": lambda: (binarize_split(in_memory(), "train"), FACTORS, (5, 3, 12)),
    "part": lambda: (part_of(CachedSplit(in_memory()), np.arange(11, 5, -1)), FACTORS[:5:-1], (5, 3, 12)),
    "part in memory": lambda: (part_of(in_memory(), np.arange(6)), FACTORS[:6], (5, 3, 12)),
    "part of a part": lambda: (
        part_of(part_of(Streamed(FACTORS), np.arange(3, 12)), np.array([0, 8])),
        FACTORS[[3, 11]],
        (4, 3, 12),
    ),
}


def read_labels(split, indices):
    """Reads labels as a training does, inside `tf.data`, in batches of three."""
    batches = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64)).batch(3).map(split.labels)
    assert batches.element_spec.shape.as_list() == [None, len(split.factor_names)]
    assert batches.element_spec.dtype == tf.int64
    with readable_errors():
        return np.concatenate(list(batches.as_numpy_iterator()))


@pytest.mark.parametrize("name", SPLITS)
def test_a_stream_of_labels_is_the_factors(name):
    split, expected, sizes = SPLITS[name]()
    order = np.random.RandomState(1).permutation(split.num_examples)
    np.testing.assert_array_equal(read_labels(split, order), expected[order])
    np.testing.assert_array_equal(split.factors(order), expected[order])
    assert split.factor_names == NAMES
    assert split.factor_sizes == sizes


def test_sprites_have_the_labels_and_sizes_of_the_published_grid():
    split = RenderedSprites(image_size=16, shapes=["heart"], scales=(2, 4), num_evaluation=9).load("train")
    indices = np.arange(0, split.num_examples, 1009)
    found = read_labels(split, indices)
    np.testing.assert_array_equal(found, split.factors(indices))
    assert set(found[:, 0]) == {2}
    assert set(found[:, 1]) == {2, 3, 4}
    assert split.factor_sizes == (3, 6, 40, 32, 32)


def test_without_factors_there_are_no_columns():
    for split in (InMemorySplit(IMAGES), CachedSplit(InMemorySplit(IMAGES)), Streamed(None, ())):
        assert split.factor_sizes == ()
        assert read_labels(split, range(5)).shape == (5, 0)


@pytest.mark.parametrize(
    "given",
    [
        FACTORS[:, 2],
        FACTORS[:, 2:],
        FACTORS[:, 2].astype(np.uint8),
        FACTORS[:, 2].astype(np.float32),
        FACTORS[:, 2].astype(">i2"),
    ],
    ids=["vector", "column", "uint8", "float32", "big-endian"],
)
def test_whole_numbers_of_any_kind_are_labels(given):
    split = InMemorySplit(IMAGES, given)
    found = split.factors(np.arange(12))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, FACTORS[:, 2:])
    assert split.factor_names == ("label",)
    assert split.factor_sizes == (12,)


def test_bools_are_0_and_1():
    split = InMemorySplit(IMAGES, FACTORS[:, :2] == 1)
    np.testing.assert_array_equal(split.factors(np.arange(12)), FACTORS[:, :2] == 1)
    assert split.factor_sizes == (2, 2)
    assert split.factor_names == ("label_0", "label_1")


def changed(value, dtype=np.float64):
    given = FACTORS.astype(dtype)
    given[7, 1] = value
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (changed(-1), r"record 7: the label is -1.0; expected an integer from 0 to 1,048,575; number the"),
        (changed(0.5), "record 7: the label is 0.5; expected an integer"),
        (changed(np.nan), "record 7: the label is nan; expected an integer"),
        (changed(np.inf), "record 7: the label is inf; expected an integer"),
        (changed(2**63, np.uint64), "record 7: the label is 9223372036854775808; expected an integer"),
        (changed(2**20, np.int64), "record 7: the label is 1048576; expected an integer"),
        (FACTORS[:5], "holds the labels of 5 images; expected one row for each of the 12 images"),
        (FACTORS[..., None], r"labels \[N\] or \[N, F\], integers from 0 on, got ndarray of the shape"),
        (np.array(["cat"] * 12), r"got ndarray of the shape \(12,\) and str96; number the values from 0 on"),
        (FACTORS.astype(complex), "labels .* and complex128"),
        (FACTORS.tolist(), r"labels \[N\] or \[N, F\].*of the class list"),
    ],
)
def test_what_is_no_label_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        InMemorySplit(IMAGES, given, NAMES)


@pytest.mark.parametrize(
    ("names", "factors", "message"),
    [
        (
            ("a", "b"),
            FACTORS,
            r"`InMemorySplit.factor_names` must be a list of 3 different names.*\('a', 'b'\)",
        ),
        (("a", "b", "b"), FACTORS, "3 different names"),
        ("abc", FACTORS, "3 different names"),
        (("a", "b", 3), FACTORS, "3 different names"),
        (("a",), None, "`InMemorySplit.factor_names` without factors must be a list of 0"),
    ],
)
def test_names_must_be_those_of_the_factors(names, factors, message):
    with pytest.raises(DataError, match=message):
        InMemorySplit(IMAGES, factors, names)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 3, 11), r"example 11: the label 'place' is 11; expected 0 to 10, one of 11 values"),
        ((4, 3), r"`?InMemorySplit.factor_sizes`? must be a list of 3 sizes"),
        ((4, 3, 0), "`InMemorySplit.factor_sizes` must be a positive integer, got 0"),
    ],
)
def test_sizes_must_be_those_of_the_factors(sizes, message):
    with pytest.raises(ValueError if 0 in sizes else DataError, match=message):
        InMemorySplit(IMAGES, FACTORS, NAMES, factor_sizes=sizes)


class Sized(Streamed):
    """A split that promises fewer values than it has."""

    def __init__(self):
        super().__init__(FACTORS)
        self.factor_sizes = (4, 2, 12)

    def describe(self, index):
        return f"line {index + 1} of a table"


def test_a_label_above_its_promised_size_is_named_inside_tf_data():
    message = r"^line 6 of a table: the label 'hue' is 2; expected 0 to 1, one of 2 values$"
    part = part_of(CachedSplit(Sized()), np.arange(3, 9))
    with pytest.raises(DataError, match=message):
        read_labels(part, [0, 1, 2])


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            FACTORS[:, :2],
            r"`Streamed.factors` must return int64 \[n, 3\].*it returned \(12, 2\) for 12 indices",
        ),
        (None, r"`Streamed.factors` must hold labels .*got None"),
        (FACTORS - 1, "example 0: the label is -1"),
    ],
)
def test_wrong_factors_of_a_split_of_ones_own_are_described(factors, message):
    with pytest.raises(DataError, match=message):
        _ = Streamed(factors).factor_sizes


def test_other_labels_are_other_data():
    one, other = InMemorySplit(IMAGES, FACTORS), InMemorySplit(IMAGES, FACTORS[::-1])
    assert one.fingerprint() != other.fingerprint()
    assert InMemorySplit(IMAGES, FACTORS.astype(float)).fingerprint() == one.fingerprint()
    assert InMemorySplit(IMAGES).fingerprint() != one.fingerprint()


def test_no_size_exceeds_what_a_table_may_hold():
    given = np.array([labels.MOST_VALUES - 1, 0])
    assert labels.sizes_of(labels.checked(given, "here")) == (labels.MOST_VALUES,)
