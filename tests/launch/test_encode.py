"""The command on a run's folder: its shards and statistics against NumPy, and what it refuses."""

import json
import re

import numpy as np
import pytest

from tests.fixtures import tiny_runs, trained_runs
from tests.fixtures.disk import full_disk
from vaeflow import trained
from vaeflow.commands import command_line
from vaeflow.commands.programs import encode
from vaeflow.datasets import Codes, Latents

pytestmark = pytest.mark.slow  # Each test has a trained run.

NUM_TRAIN, NUM_EVALUATION = 40, 11
LABELS = "Arrays.labels_key = 'labels'"
SMALL_SHARDS = "encode.examples_per_shard = 12"
CODES = (
    "VQVAE.encoder = @ResidualMapEncoder()",
    "VQVAE.decoder = @ResidualMapDecoder()",
    "ResidualMapEncoder.filters = (4, 4)",
    "ResidualMapDecoder.filters = (4, 4)",
    "VQVAE.posterior = @VectorQuantizer()",
    "VectorQuantizer.num_codes = 5",
)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """A run of a dense VAE on images with labels."""
    return trained_runs.trained_folder(tmp_path_factory.mktemp("gaussian"), LABELS)


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """A run of a VQ-VAE."""
    return trained_runs.trained_folder(tmp_path_factory.mktemp("codes"), *CODES, LABELS, model="VQVAE")


def run_encode(folder, encoded, *parameters):
    """Runs the command in this process and returns its exit code."""
    arguments = [f"--workdir={folder}", f"--encoded={encoded}"]
    arguments += [f"--gin_param={parameter}" for parameter in parameters]
    with tiny_runs.configuration_of_its_own():
        return command_line.main(encode.COMMAND, arguments)


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def shards(folder, split="train"):
    """Reads the .npz shards of a split with NumPy alone, and joins them."""
    found = [dict(np.load(path)) for path in sorted((folder / split).glob("*.npz"))]
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def contents(folder):
    """The bytes of every file but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def images(folder, split="train"):
    with np.load(folder.parent / "data" / f"{split}.npz") as file:
        return file["images"] / np.float32(255)


def model(folder):
    with tiny_runs.configuration_of_its_own():
        return trained.load(str(folder))


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_latents_are_those_of_the_model_with_exact_statistics(gaussian, tmp_path, capsys):
    assert run_encode(gaussian, tmp_path / "new" / "folder", SMALL_SHARDS) == 0
    folder = tmp_path / "new" / "folder"
    for split, count in (("train", NUM_TRAIN), ("evaluation", NUM_EVALUATION)):
        found, posterior = shards(folder, split), model(gaussian).encode(images(gaussian, split))
        close(found["mean"], posterior.mean)
        close(found["log_variance"], posterior.log_variance)
        np.testing.assert_array_equal(found["index"], np.arange(count))
        np.testing.assert_array_equal(found["labels"][:, 0], np.arange(count) % 3)
        mean, variance = found["mean"].astype(np.float64), np.exp(found["log_variance"].astype(np.float64))
        statistics = manifest(folder)["splits"][split]["statistics"]["z"]
        for part, axis in (("channels", 0), ("all", None)):
            np.testing.assert_allclose(statistics[part]["mean"], mean.mean(axis), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(statistics[part]["deviation"], mean.std(axis), rtol=1e-12)
            total = np.sqrt(mean.var(axis) + variance.mean(axis))
            np.testing.assert_allclose(statistics[part]["sample_deviation"], total, rtol=1e-12)
    sizes = [shard["num_examples"] for shard in manifest(folder)["splits"]["train"]["shards"]]
    assert sizes == [12, 12, 12, 4]
    printed = capsys.readouterr().out
    assert "train      40 examples in 4 shards" in printed
    assert f"to use it  train.dataset = @Latents(), Latents.folder = '{folder}'" in printed
    np.testing.assert_array_equal(Latents(str(folder)).load("train").array[:, 0, 0], shards(folder)["mean"])


def test_codes_are_those_of_the_model_and_decode_to_its_reconstructions(codes, tmp_path):
    assert run_encode(codes, tmp_path) == 0
    split = Codes(str(tmp_path)).load("evaluation")
    assert (split.shape, split.code_sizes, split.factor_sizes) == ((2, 2, 1), (5,), (3,))
    tokenizer = model(codes)
    np.testing.assert_array_equal(split.array, tokenizer.encode_codes(images(codes, "evaluation")))
    close(tokenizer.decode_codes(split.array).mean, tokenizer(images(codes, "evaluation")))
    assert shards(tmp_path)["codes"].dtype == np.int32
    named = manifest(tmp_path)["tokenizer"]
    result = json.loads((codes / "result.json").read_text())
    assert (named["workdir"], named["weights_sha256"]) == (str(codes), result["weights_sha256"])


@pytest.mark.parametrize("latents", ["center", "sample"])
def test_latents_depend_on_neither_the_shards_nor_the_batches(gaussian, tmp_path, latents):
    setting = f"encode.latents = '{latents}'"
    assert run_encode(gaussian, tmp_path / "one", setting, SMALL_SHARDS) == 0
    others = ("encode.batch_size = 5", "encode.examples_per_shard = 17", "encode.splits = ('train',)")
    assert run_encode(gaussian, tmp_path / "other", setting, *others) == 0
    one, other = (shards(tmp_path / name)["latents"] for name in ("one", "other"))
    close(one, other)
    posterior = model(gaussian).encode(images(gaussian))
    mean, log_variance = posterior.mean.numpy(), posterior.log_variance.numpy()
    if latents == "center":
        close(one, mean)
    else:  # 120 standard normal numbers: their mean is within 4 / √120 of 0, and no two are equal.
        noise = (one - mean) / np.exp(log_variance / 2)
        assert abs(noise.mean()) < 0.37
        assert 0.7 < noise.std() < 1.3
        assert len(np.unique(noise)) == noise.size
    assert not (tmp_path / "other/evaluation").exists()


def test_a_repeated_command_writes_only_what_is_missing_or_damaged(codes, tmp_path, caplog):
    assert run_encode(codes, tmp_path, SMALL_SHARDS) == 0
    before = contents(tmp_path)
    names = [f"train/0000{number}-of-00004" for number in range(4)]
    (tmp_path / f"{names[0]}.npz").unlink()
    (tmp_path / f"{names[1]}.json").unlink()
    (tmp_path / f"{names[2]}.npz").write_bytes(b"half of it")
    untouched = (tmp_path / f"{names[3]}.npz").stat().st_mtime_ns
    (tmp_path / "manifest.json").unlink()
    assert run_encode(codes, tmp_path, SMALL_SHARDS) == 0
    assert contents(tmp_path) == before
    assert (tmp_path / f"{names[3]}.npz").stat().st_mtime_ns == untouched
    # Nothing is known of the second.
    said = [f"{tmp_path}/{name}.npz is written again: it is missing or damaged" for name in names]
    assert caplog.messages == [said[0], said[2]]


@pytest.mark.long
def test_another_encoding_in_the_folder_is_refused(codes, gaussian, tmp_path, capsys):
    assert run_encode(codes, tmp_path / "encoded", "encode.splits = ('evaluation',)") == 0
    before = contents(tmp_path / "encoded")
    for run, parameters, message in (
        (gaussian, (), """its tokenizer model is "VQVAE", that of this command "VAE";"""),
        (codes, ("encode.seed = 1",), "its settings seed is 0, that of this command 1"),
        (codes, ("encode.file_format = 'tfrecord'",), "its file_format is"),
        (
            codes,
            (f"Arrays.evaluation = '{gaussian.parent}/data/train.npz'",),
            "its data splits evaluation is",
        ),
    ):
        assert run_encode(run, tmp_path / "encoded", "encode.splits = ('evaluation',)", *parameters) == 2
        assert message in capsys.readouterr().err
    assert contents(tmp_path / "encoded") == before


def test_a_folder_of_others_is_left_alone(gaussian, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("")
    assert run_encode(gaussian, tmp_path) == 2
    assert "holds files that are not an encoding's: thesis.tex; choose a new" in capsys.readouterr().err
    assert sorted(contents(tmp_path)) == ["thesis.tex"]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("encode.splits = 'train'", r"`encode.splits` must be a list such as \('train', 'evaluation'\)"),
        ("encode.splits = ('test',)", "`encode.splits` must be one of 'train', 'evaluation', 'validation'"),
        ("encode.splits = ('validation',)", "Arrays has no validation split; set"),
        ("encode.latents = 'mean'", "`encode.latents` must be one of 'distribution', 'center', 'sample'"),
        (
            "encode.file_format = 'csv'",
            "`encode.file_format` must be one of 'npz', 'tfrecord', 'array_record'",
        ),
        ("encode.examples_per_shard = 0", "`encode.examples_per_shard` must be a positive integer"),
        ("encode.encoded = 'x'", "use the flag --encoded instead"),
    ],
)
def test_wrong_settings(gaussian, tmp_path, capsys, parameter, message):
    assert run_encode(gaussian, tmp_path / "encoded", parameter) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "encoded").exists()


def test_a_full_disk(gaussian, tmp_path, capsys):
    with full_disk(kilobytes=1):
        assert run_encode(gaussian, tmp_path) == 4
    assert "cannot be written (File too large); free some space" in capsys.readouterr().err
    assert list(tmp_path.rglob(".unfinished*")) == []
