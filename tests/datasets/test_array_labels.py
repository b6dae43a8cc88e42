"""The labels of `Arrays`: in files of their own and next to the images, intact and wrong."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import Arrays
from vaeflow.errors import ConfigurationError, DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 5, 7)).astype(np.uint8)
HELD_OUT = IMAGES[::-1][:6].copy()
LABELS = np.arange(20) % 5
HELD_OUT_LABELS = LABELS[::-1][:6].copy()
FACTORS = np.stack([LABELS, np.arange(20) % 3], 1)


def save(path, **arrays):
    if path.suffix == ".npy":
        np.save(path, *arrays.values())
    elif path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    return path


def as_pairs(split):
    """All pairs of an image and its labels, read as a training reads them."""
    stream = (
        tf.data.Dataset.range(split.num_examples).batch(4).map(lambda i: (split.examples(i), split.labels(i)))
    )
    return [
        (bytes(image), tuple(row.tolist()))
        for images, rows in stream.as_numpy_iterator()
        for image, row in zip(images, rows)
    ]


def expected_pairs(images, labels):
    return [(bytes(image), tuple(np.atleast_1d(row).tolist())) for image, row in zip(images, labels)]


@pytest.mark.parametrize("labels", [LABELS, FACTORS], ids=["vector", "matrix"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_a_held_out_part_has_its_labels(tmp_path, suffix, labels):
    train = save(tmp_path / f"x{suffix}", images=IMAGES)
    dataset = Arrays(train, train_labels=save(tmp_path / f"y{suffix}", y=labels), evaluation_fraction=0.25)
    splits = [dataset.load(name) for name in ("train", "evaluation")]
    assert [split.num_examples for split in splits] == [15, 5]
    assert sorted(as_pairs(splits[0]) + as_pairs(splits[1])) == sorted(expected_pairs(IMAGES, labels))
    for split in splits:
        # Of the whole array, whatever is held out.
        assert split.factor_sizes == ((5,) if labels.ndim == 1 else (5, 3))
        assert split.factor_names == (("label",) if labels.ndim == 1 else ("label_0", "label_1"))


def own_splits(tmp_path, suffix, **changes):
    arrays = {"x": IMAGES, "y": LABELS, "x2": HELD_OUT, "y2": HELD_OUT_LABELS, **changes}
    return save(tmp_path / f"all{suffix}", **arrays)


@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_four_arrays_of_one_file(tmp_path, suffix):
    path = own_splits(tmp_path, suffix)
    keys = {"train_key": "x", "evaluation_key": "x2", "train_labels_key": "y", "evaluation_labels_key": "y2"}
    dataset = Arrays(path, **keys, label_names=["kind"])
    train, evaluation = dataset.load("train"), dataset.load("evaluation")
    assert as_pairs(train) == expected_pairs(IMAGES, LABELS)
    assert as_pairs(evaluation) == expected_pairs(HELD_OUT, HELD_OUT_LABELS)
    assert train.factor_names == evaluation.factor_names == ("kind",)
    assert train.factor_sizes == evaluation.factor_sizes == (5,)


def test_one_name_in_two_files(tmp_path):
    train = save(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    evaluation = save(tmp_path / "test.npz", images=HELD_OUT, labels=HELD_OUT_LABELS)
    dataset = Arrays(train, evaluation, key="images", labels_key="labels")
    assert as_pairs(dataset.load("evaluation")) == expected_pairs(HELD_OUT, HELD_OUT_LABELS)


def test_four_files(tmp_path):
    files = [
        save(tmp_path / f"{name}.npy", array=array)
        for name, array in {
            "a": IMAGES,
            "b": HELD_OUT,
            "c": LABELS.astype(float),
            "d": HELD_OUT_LABELS,
        }.items()
    ]
    dataset = Arrays(files[0], files[1], train_labels=files[2], evaluation_labels=files[3])
    assert as_pairs(dataset.load("train")) == expected_pairs(IMAGES, LABELS)
    assert as_pairs(dataset.load("evaluation")) == expected_pairs(HELD_OUT, HELD_OUT_LABELS)


def test_an_evaluation_of_few_labels_has_the_sizes_of_the_training(tmp_path):
    path = own_splits(tmp_path, ".npz", y2=np.zeros(6, bool))
    keys = {"train_key": "x", "evaluation_key": "x2", "train_labels_key": "y", "evaluation_labels_key": "y2"}
    assert Arrays(path, **keys).load("evaluation").factor_sizes == (5,)


def test_without_settings_there_are_no_labels(tmp_path):
    split = Arrays(own_splits(tmp_path, ".npz"), key="x").load("train")
    assert split.factors(np.arange(3)) is None
    assert split.factor_names == split.factor_sizes == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"y": LABELS[:19]},
            r"array y holds the labels of 19 images, .*array x holds 20 images; expected one row",
        ),
        ({"y": LABELS - 1}, "array y, record 0: the label is -1; expected an integer from 0"),
        ({"y": LABELS / 2}, "array y, record 1: the label is 0.5; expected an integer from 0"),
        ({"y": IMAGES}, r"array y holds an array of shape \(20, 5, 7\); expected labels \[N\] or \[N, F\]"),
        ({"y": np.array(["cat"] * 20)}, r"array y must hold labels .*str96; number the values from 0 on"),
        ({"y": LABELS.astype(complex)}, "complex128"),
        ({"y": FACTORS}, r"`Arrays.label_names` must be a list of 2 different names.*\['kind'\]"),
        ({"y2": HELD_OUT_LABELS[:5]}, r"array y2 holds the labels of 5 images, .*array x2 holds 6 images"),
        ({"y2": FACTORS[:6]}, "array y2 holds 2 labels for each image, .*array y 1; expected the same"),
        (
            {"y2": HELD_OUT_LABELS + 1},
            r"array y2, record 0: the label 'kind' is 5, which .*array y lacks \(in 2",
        ),
        # No larger than those of the training images, but not among them.
        ({"y": LABELS * 2}, r"array y2, record 1: the label 'kind' is 3, which .*array y lacks"),
    ],
)
def test_wrong_labels_are_described(tmp_path, changes, message):
    path = own_splits(tmp_path, ".npz", **changes)
    keys = {"train_key": "x", "evaluation_key": "x2", "train_labels_key": "y", "evaluation_labels_key": "y2"}
    dataset = Arrays(path, **keys, label_names=["kind"])
    with pytest.raises(DataError, match=rf"{path}.*{message}" if "`" not in message else message):
        [dataset.load(name) for name in ("train", "evaluation")]


def test_a_missing_array_is_named_with_its_setting(tmp_path):
    path = own_splits(tmp_path, ".npz")
    with pytest.raises(DataError, match=r"holds the arrays x, x2, y, y2; set `Arrays.labels_key` .*got 'z'"):
        Arrays(path, key="x", labels_key="z").load("train")
    keys = {"train_key": "x", "evaluation_key": "x2", "labels_key": "z", "train_labels_key": "y"}
    with pytest.raises(DataError, match=r"set `Arrays.evaluation_labels_key` to one of them, got 'z'"):
        Arrays(path, **keys).load("evaluation")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"labels_key": "y"},
            "the array 'y' of labels cannot be in .*x.npy, which holds one array; set `Arrays",
        ),
        (
            {"label_names": ["kind"]},
            "no setting says where the labels for train are; set `Arrays.train_labels`",
        ),
        (
            {"train_labels": "y.npy", "evaluation_labels": "y.npy"},
            "a part of `Arrays.train` is held out, with",
        ),
        (
            {"train_labels": "y.npy", "evaluation_labels_key": "y"},
            "a part of `Arrays.train` is held out, with",
        ),
        (
            {"train_labels": "y.npy", "evaluation": "x2.npy"},
            "where the labels for evaluation are; set `Arrays.ev",
        ),
        ({"evaluation": "x2.npy", "evaluation_labels": "y.npy"}, "where the labels for train are"),
        (
            {"evaluation": "x2.npy", "train_labels": "y.npy", "evaluation_labels": "y.npy"},
            "the labels of both splits are the same array of .*y.npy",
        ),
        ({"train_labels": "none.npy"}, "`Arrays.train_labels` must be an existing file"),
        ({"train_labels": "y.csv"}, r"`Arrays.train_labels` must be a file that ends in .npy"),
        (
            {"train_labels": "y.npy", "label_names": "kind"},
            "`Arrays.label_names` must be a list of names, got 'k",
        ),
        ({"train_labels": "y.npy", "label_names": []}, "`Arrays.label_names` must be a list of names"),
    ],
)
def test_settings_must_say_where_the_labels_of_both_splits_are(tmp_path, settings, message):
    for name, array in {"x": IMAGES, "x2": HELD_OUT, "y": LABELS}.items():
        save(tmp_path / f"{name}.npy", array=array)
    paths = ("evaluation", "train_labels", "evaluation_labels")
    settings = {key: tmp_path / value if key in paths else value for key, value in settings.items()}
    with pytest.raises(ConfigurationError, match=message):
        Arrays(tmp_path / "x.npy", **settings)
