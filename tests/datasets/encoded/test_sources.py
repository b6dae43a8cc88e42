"""What `Codes` and `Latents` read of a folder that was encoded."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import encoded_folders
from vaeflow import random
from vaeflow.datasets import Codes, Latents, pipeline
from vaeflow.datasets.encoded.formats import FORMATS
from vaeflow.errors import ConfigurationError, DataError

EVERY_FORMAT = pytest.mark.parametrize("file_format", FORMATS)
BOTH_WAYS = pytest.mark.parametrize("in_memory", [True, False])
ORDER = [5, 0, 6, 5]


@pytest.fixture
def of_codes(tmp_path):
    return encoded_folders.write_codes(tmp_path / "encoded").path


@pytest.fixture
def of_latents(tmp_path):
    return encoded_folders.write_latents(tmp_path / "latents").path


def examples(split, indices=ORDER):
    """Reads as training does: inside `tf.data`."""
    chosen = tf.data.Dataset.from_tensors(tf.constant(indices, tf.int64))
    return next(iter(chosen.map(split.examples))).numpy()


@EVERY_FORMAT
@BOTH_WAYS
def test_codes_are_read_as_they_were_written(tmp_path, file_format, in_memory):
    encoded_folders.write_codes(tmp_path, file_format=file_format)
    split = pipeline.read_split(Codes(str(tmp_path), in_memory=in_memory), "train")
    assert (split.content, split.dtype, split.code_sizes) == ("codes", "int32", (5, 3))
    np.testing.assert_array_equal(examples(split), encoded_folders.codes(7)[ORDER])
    assert (split.array is not None) == in_memory


@EVERY_FORMAT
@BOTH_WAYS
def test_latents_are_read_as_they_were_written(tmp_path, file_format, in_memory):
    encoded_folders.write_latents(tmp_path, file_format=file_format)
    split = pipeline.read_split(Latents(str(tmp_path), in_memory=in_memory), "evaluation")
    assert (split.content, split.dtype, split.num_examples) == ("latents", "float32", 4)
    np.testing.assert_array_equal(examples(split, [3, 1]), encoded_folders.latents(4, seed=1)[[3, 1]])
    np.testing.assert_array_equal(
        split.to_floats(examples(split, [3]), "float64")[0], examples(split, [3])[0]
    )


@EVERY_FORMAT
@BOTH_WAYS
def test_labels_come_with_them(tmp_path, file_format, in_memory):
    encoded_folders.write_codes(tmp_path, file_format=file_format)
    split = Codes(str(tmp_path), in_memory=in_memory).load("train")
    assert (split.factor_names, split.factor_sizes) == (("kind", "side"), (3, 2))
    np.testing.assert_array_equal(
        split.labels(tf.constant(ORDER, tf.int64)), encoded_folders.labels(7)[ORDER]
    )


def test_a_folder_without_labels_has_none(tmp_path):
    encoded_folders.write_codes(tmp_path, num_labels=0)
    split = Codes(str(tmp_path)).load("train")
    assert split.factor_names == split.factor_sizes == ()
    assert split.factors(np.arange(2)) is None


@BOTH_WAYS
def test_a_part_is_held_out_for_validation(of_codes, in_memory):
    dataset = Codes(str(of_codes), in_memory=in_memory, validation_fraction=0.3)
    parts = [pipeline.read_split(dataset, name) for name in ("train", "validation")]
    assert [part.num_examples for part in parts] == [5, 2]
    found = np.concatenate([examples(part, np.arange(part.num_examples)) for part in parts])
    assert sorted(map(bytes, found)) == sorted(map(bytes, encoded_folders.codes(7)))
    assert parts[1].code_sizes == (5, 3)


def test_latents_scaled_by_the_deviation_of_all_have_one_of_1(of_latents):
    split = Latents(str(of_latents), scaling="all").load("train")
    stored = encoded_folders.latents(7).astype(np.float64)
    np.testing.assert_allclose(split.array, stored / stored.std(), rtol=1e-7)
    # The evaluation split with the same number.
    np.testing.assert_allclose(
        Latents(str(of_latents), scaling="all", in_memory=False).load("evaluation").examples([2]),
        encoded_folders.latents(4, seed=1)[[2]] / stored.std(),
        rtol=1e-6,
    )


def test_latents_scaled_by_channel_have_mean_0_and_deviation_1(of_latents):
    array = Latents(str(of_latents), scaling="channels").load("train").array.astype(np.float64)
    np.testing.assert_allclose(array.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(array.std(axis=(0, 1, 2)), 1, rtol=1e-6)


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_drawn_latents_are_samples_of_the_scaled_gaussians(of_latents, fraction):
    dataset = Latents(str(of_latents), scaling="channels", draw=True, validation_fraction=fraction)
    split = pipeline.read_split(dataset, "train")
    assert (split.shape, split.stored_shape) == ((2, 3, 4), (2, 3, 8))
    stored = examples(split, [2, 4])
    with random.keyed(3, "train", 7):
        drawn = split.to_floats(stored, "float64")
    with random.keyed(3, "train", 7):
        noise = random.normal((2, 2, 3, 4), "float64").numpy()
    # From the whole arrays in NumPy: var z = var of the means + mean of the variances.
    means, log_variances = encoded_folders.latents(7), encoded_folders.latents(7, seed=2) / 10
    means, log_variances = means.astype(np.float64), log_variances.astype(np.float64)
    axes = (0, 1, 2)
    deviation = np.sqrt(means.var(axes) + np.exp(log_variances).mean(axes))
    rows = [2, 4] if not fraction else held_rows(stored, means, deviation)
    z = means[rows] + np.exp(log_variances[rows] / 2) * noise
    np.testing.assert_allclose(drawn, (z - means.mean(axes)) / deviation, rtol=1e-5, atol=1e-5)


def held_rows(stored, means, deviation):
    """Which examples of the whole these are."""
    scaled = (means - means.mean((0, 1, 2))) / deviation
    return [int(np.abs(scaled - example[..., :4]).sum((1, 2, 3)).argmin()) for example in stored]


def test_a_vector_is_a_map_of_one_place(tmp_path):
    group = encoded_folders.Group("latents", {"latents": (4,)})
    values = {
        name: {"latents": encoded_folders.latents(count)[:, 0, 0]}
        for name, count in encoded_folders.SIZES.items()
    }
    encoded_folders.write(tmp_path, values, group)
    assert Latents(str(tmp_path)).load("train").shape == (1, 1, 4)


def test_the_tokenizer_is_named(of_codes):
    tokenizer = Codes(str(of_codes)).manifest.tokenizer
    assert (tokenizer["workdir"], tokenizer["weights_sha256"]) == ("/runs/tokenizer", "a" * 64)


def test_other_content_has_another_fingerprint(tmp_path):
    encoded_folders.write_codes(tmp_path / "one")
    splits = [Codes(str(tmp_path / "one"), in_memory=held).load("train") for held in (True, False)]
    assert splits[0].fingerprint() == splits[1].fingerprint()
    assert splits[0].fingerprint().startswith("7 codes of 2 x 2 x 2, int32, content ")
    assert splits[0].fingerprint() != Codes(str(tmp_path / "one")).load("evaluation").fingerprint()


def first_shard(folder):
    return folder / "train/00000-of-00003.npz"


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_a_byte, r"00000-of-00003.npz is damaged, or of another encoding: its SHA-256 is"),
        (lambda path: path.unlink(), "00000-of-00003.npz cannot be read: .*No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "00000-of-00003.npz has .* cut short"),
        (
            lambda path: path.write_bytes(path.with_name("00001-of-00003.npz").read_bytes()),
            "00000-of-00003.npz is damaged, or of another encoding",
        ),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "is a link that leads out of"),
    ],
)
def test_damaged_missing_and_foreign_shards_are_refused(of_codes, spoil, message):
    spoil(first_shard(of_codes))
    with pytest.raises(DataError if "link" not in message else Exception, match=message):
        Codes(str(of_codes)).load("train")


def test_a_code_that_no_codebook_has_is_refused_and_the_record_named(tmp_path):
    codes = {name: {"codes": encoded_folders.codes(count)} for name, count in encoded_folders.SIZES.items()}
    codes["train"]["codes"][4, 1, 1, 0] = 7
    encoded_folders.write(
        tmp_path, codes, encoded_folders.Group("codes", {"codes": (2, 2, 2)}, encoded_folders.CODE_SIZES)
    )
    message = r"00001-of-00003.npz, record 1 holds 7; expected codes below \(5, 3\)"
    with pytest.raises(DataError, match=message):
        Codes(str(tmp_path)).load("train")
    with pytest.raises(DataError, match=message), pipeline.readable_errors():
        examples(Codes(str(tmp_path), in_memory=False).load("train"), [4])


def change(folder, *keys, value):
    content = json.loads((folder / "manifest.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("version",), 2, "it has version 2, and this vaeflow reads 1"),
        (("file_format",), "pickle", "its 'file_format' must be one of npz, tfrecord, array_record"),
        (("groups", "z", "content"), "images", "its 'groups/z/content' must be one of codes, latents"),
        (("groups", "z", "arrays"), {"codes": [2, 2, 0]}, "its 'groups/z/arrays' must be an object of lists"),
        (("groups", "z", "arrays"), {"mean": [2]}, "which no codes are stored as"),
        (("groups", "z", "code_sizes"), [5], "'groups/z/code_sizes' are 1, and a place has 2 codes"),
        (("splits", "../train"), {}, "its 'splits' must be one of train, evaluation, validation"),
        (("splits", "train", "shards"), [], "the split 'train' has no shards"),
        (("splits", "train", "num_examples"), 8, "shards of 'train' do not hold 8 examples"),
        (("splits", "train", "shards", 0, "num_examples"), 10**17, r"has 10+ examples in \d+ bytes"),
        (("labels", "sizes"), [3, 10**15], "it has a label of 10+ values, more than"),
        (("labels", "sizes"), [3], "it has 2 names of labels and 1 sizes"),
        (("tokenizer", "workdir"), 3, "its 'tokenizer/workdir' must be a text, got 3"),
        (("groups", "z", "arrays"), {"codes": [2, 4, 2]}, "the array 'codes' is int32"),
    ],
)
def test_a_manifest_that_holds_something_else_is_refused(of_codes, keys, value, message):
    change(of_codes, *keys, value=value)
    with pytest.raises(DataError, match=message):
        Codes(str(of_codes)).load("train")


@BOTH_WAYS
@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("all", "deviation", [1e-320]),
        ("all", "sample_deviation", [1e-320]),
        ("channels", "mean", [1e300] * 4),
    ],
)
def test_latents_that_are_not_finite_once_scaled_are_refused(of_latents, in_memory, part, name, value):
    """A training would be said to diverge at its first step."""
    change(of_latents, "splits", "train", "statistics", "z", part, name, value=value)
    draw = name == "sample_deviation"
    with pytest.raises(DataError, match=r"npz, record 0 is not finite once it is scaled by"):  # noqa: PT012
        split = Latents(str(of_latents), scaling=part, draw=draw, in_memory=in_memory).load("train")
        with pipeline.readable_errors():
            examples(split, [0])


def test_what_a_manifest_cannot_hold_is_never_allocated(of_codes):
    change(of_codes, "groups", "z", "arrays", value={"codes": [2**20, 2**20, 2]})
    with pytest.raises(DataError, match=r"GiB of memory, .* set `Codes.in_memory` to False"):
        Codes(str(of_codes)).load("train")


def test_an_encoding_that_was_stopped_is_not_read(of_codes):
    (of_codes / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"holds no manifest.json, so nothing was encoded there, or not all"):
        Codes(str(of_codes)).load("train")


def test_wrong_settings_are_refused(of_codes, of_latents, tmp_path):
    with pytest.raises(ConfigurationError, match=r"`Codes.folder` must be an existing folder"):
        Codes(str(tmp_path / "none"))
    arrays = {
        name: {"latents": encoded_folders.latents(count)} for name, count in encoded_folders.SIZES.items()
    }
    encoded_folders.write(
        tmp_path / "centers", arrays, encoded_folders.Group("latents", {"latents": (2, 3, 4)})
    )
    with pytest.raises(ConfigurationError, match=r"`Latents.draw` needs the mean and the variance of each"):
        Latents(str(tmp_path / "centers"), draw=True).load("train")
    with pytest.raises(ValueError, match=r"`Latents.scaling` must be one of 'none', 'all', 'channels'"):
        Latents(str(of_latents), scaling="unit")
