"""The command on a run's folder: its files against NumPy, and what it refuses."""

import csv

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import tiny_runs, trained_runs
from tests.fixtures.commands import Command
from tests.fixtures.disk import full_disk
from vaeflow import random, registry, trained
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed
from vaeflow.datasets import Dataset, InMemorySplit

pytestmark = pytest.mark.slow  # Each test has a trained run.

LATENTS = ["z00", "z01", "z02"]


@registry.dataset
class LabelledNoise(Dataset):
    """Noise with two factors."""

    def __init__(self):
        super().__init__()

    def load(self, name):
        count, seed = {"train": (40, 0), "evaluation": (11, 1)}[name]
        return InMemorySplit(tiny_runs.images(count, seed), factors(count), ("kind", "size"))


def factors(count):
    return np.arange(2 * count).reshape(count, 2) * 3 % 7


def run_embed(folder, *parameters):
    """Runs the command in this process and returns its exit code."""
    arguments = [f"--workdir={folder}", *(f"--gin_param={parameter}" for parameter in parameters)]
    with tiny_runs.configuration_of_its_own():
        return command_line.main(embed.COMMAND, arguments)


def arrays(folder, split="evaluation"):
    with np.load(folder / "embeddings" / f"{split}.npz") as file:
        return dict(file)


def table(folder, split="evaluation"):
    with (folder / "embeddings" / f"{split}.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on images with factors."""
    return trained_runs.trained_folder(
        tmp_path_factory.mktemp("labelled"), "train.dataset = @LabelledNoise()"
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run on images without, in float64."""
    return trained_runs.trained_folder(tmp_path_factory.mktemp("plain"), "train.precision = 'float64'")


def numpy_posterior(folder, images):
    """Mean and log variance of q(z|x), in NumPy and float64."""
    with tiny_runs.configuration_of_its_own():
        model = trained.load(str(folder))
    (encoder,) = (layer for layer in model.encoder.blocks if hasattr(layer, "kernel"))

    def dense(values, layer):
        return values @ layer.kernel.numpy().astype(float) + layer.bias.numpy()

    features = np.maximum(dense(images.reshape(len(images), -1) / 255.0, encoder), 0)
    return dense(features, model.posterior.mean), dense(features, model.posterior.log_variance)


def test_the_files_equal_a_numpy_encoding(folder, capsys):
    assert run_embed(folder) == 0
    out = capsys.readouterr().out
    written = ["embeddings/evaluation.npz", "embeddings/evaluation.csv", "tensorboard/projector/evaluation"]
    for path in written:
        assert f"  {folder / path}\n" in out
        assert (folder / path).exists()
    assert f"tensorboard --logdir {folder}\n" in out
    assert "#projector" in out
    assert "11 of 11 images of the evaluation split of LabelledNoise" in out
    assert not list(folder.glob(".unfinished*"))

    found = arrays(folder)
    mean, log_variance = numpy_posterior(folder, tiny_runs.images(11, seed=1))
    assert mean.std(axis=0).min() > 0.01
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["log_variance"], log_variance, rtol=1e-4, atol=1e-6)
    with random.keyed(0, "embedding", 0, 0):
        noise = random.normal((11, 3), "float64").numpy()
    np.testing.assert_allclose(
        found["latents"], mean + np.exp(log_variance / 2) * noise, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(found["indices"], np.arange(11))
    np.testing.assert_array_equal(found["factors"], factors(11))
    assert found["factor_names"].tolist() == ["kind", "size"]
    assert found["indices"].dtype == found["factors"].dtype == np.int64
    assert found["mean"].dtype == np.float32

    header, rows = table(folder)
    assert header == ["index", "kind", "size", *LATENTS]
    np.testing.assert_array_equal(np.array(rows)[:, 0].astype(int), np.arange(11))
    np.testing.assert_array_equal(np.array(rows)[:, 1:3].astype(int), factors(11))
    np.testing.assert_array_equal(np.array(rows)[:, 3:].astype(np.float32), found["mean"])


def test_the_projector_shows_some_of_some(folder):
    code = run_embed(
        folder,
        "embed.split = 'train'",
        "embed.num_examples = 20",
        "embed.max_projector_examples = 5",
        "embed.batch_size = 7",
    )
    assert code == 0
    found = arrays(folder, "train")
    # 20 of 40, both ends among them, and 5 of those 20.
    assert found["indices"].tolist() == [39 * place // 19 for place in range(20)]
    shown = [39 * place // 19 for place in (0, 4, 9, 14, 19)]
    np.testing.assert_array_equal(found["factors"], factors(40)[found["indices"]])
    images = tiny_runs.images(40)
    mean, _ = numpy_posterior(folder, images)
    np.testing.assert_allclose(found["mean"], mean[found["indices"]], rtol=1e-4, atol=1e-6)

    projection = folder / "tensorboard" / "projector" / "train"
    header, *lines = (projection / "metadata.tsv").read_text().splitlines()
    assert header == "kind\tsize\tindex"
    assert lines == ["\t".join(map(str, [*factors(40)[index], index])) for index in shown]
    points = np.loadtxt(projection / "points.tsv", np.float32)
    np.testing.assert_array_equal(points, found["mean"][[0, 4, 9, 14, 19]])
    pixels = np.asarray(Image.open(projection / "sprites.png"))
    assert pixels.shape == (16, 24)
    for position, index in enumerate(shown):
        top, left = position // 3 * 8, position % 3 * 8
        np.testing.assert_array_equal(pixels[top : top + 8, left : left + 8], images[index, ..., 0])


def test_a_second_call_replaces_the_first(folder):
    assert run_embed(folder, "embed.num_examples = 4") == 0
    assert len(table(folder)[1]) == 4
    projection = folder / "tensorboard" / "projector" / "evaluation"
    assert len((projection / "points.tsv").read_text().splitlines()) == 4
    assert len(list(projection.glob("events.out.tfevents.*"))) == 1
    assert run_embed(folder) == 0
    assert len(table(folder)[1]) == 11


def test_without_factors_and_in_double_precision(plain):
    assert run_embed(plain, "embed.seed = 5") == 0
    found = arrays(plain)
    assert found.keys() == {"indices", "binarization", "mean", "log_variance", "latents", "kl"}
    assert found["binarization"] == "none"
    assert found["mean"].dtype == np.float64
    with np.load(plain.parent / "data" / "evaluation.npz") as data:
        mean, log_variance = numpy_posterior(plain, data["images"])
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-12)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1)
    np.testing.assert_allclose(found["kl"], kl, rtol=1e-9, atol=1e-12)
    with random.keyed(5, "embedding", 0, 0):
        noise = random.normal((11, 3), "float64").numpy()
    np.testing.assert_allclose(found["latents"], mean + np.exp(log_variance / 2) * noise, rtol=1e-9)
    header, rows = table(plain)
    assert header == ["index", *LATENTS]
    np.testing.assert_array_equal(np.array(rows)[:, 1:].astype(float), found["mean"])


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        (
            "embed.split = 'test'",
            "`embed.split` must be one of 'train', 'evaluation', 'validation'; got 'test'",
        ),
        ("embed.num_examples = 0", "`embed.num_examples` must be a positive integer, got 0"),
        ("embed.max_projector_examples = 2.5", "`embed.max_projector_examples` must be a positive integer"),
        ("embed.max_projector_examples = 100001", "must be at most 100,000"),
        ("embed.batch_size = -8", "`embed.batch_size` must be a positive integer, got -8"),
        ("embed.seed = -1", "`embed.seed` must be an integer of at least 0, got -1"),
        ("embed.seed = 4294967296", "`embed.seed` must be below 2**32"),
        ("embed.max_examples = 5", "max_examples"),
        ("embed.workdir = 'x'", "--workdir"),
    ],
)
def test_a_bad_setting_is_refused(plain, capsys, monkeypatch, parameter, message):
    monkeypatch.setattr(trained, "restore", lambda *arguments: pytest.fail("the model was restored"))
    assert run_embed(plain, parameter) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("vaeflow embed: error: ")
    assert "Traceback" not in error


def test_a_full_disk_leaves_what_was_there(folder, capsys):
    assert run_embed(folder) == 0
    before = arrays(folder)
    with full_disk(kilobytes=1):
        code = run_embed(folder, "embed.seed = 1")
    assert code == 4
    assert f"{folder}/embeddings cannot be written (File too large)" in capsys.readouterr().err
    after = arrays(folder)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert not list(folder.glob(".unfinished*"))
    assert (folder / "tensorboard" / "projector" / "evaluation" / "projector_config.pbtxt").exists()


@pytest.mark.long
@pytest.mark.processes
def test_the_command_on_two_replicas(plain):
    assert run_embed(plain) == 0
    one = arrays(plain)

    def run(*flags):
        flags = ["--workdir=run", "--virtual_devices=2", *flags]
        return Command("launch.embed", flags, plain.parent).finish()

    code, out, error = run("--gin_param=embed.batch_size = 4")
    assert code == 0, error
    assert "table      run/embeddings/evaluation.csv\n" in out
    two = arrays(plain)
    assert two.pop("binarization") == one.pop("binarization")
    for name, value in two.items():
        np.testing.assert_allclose(value, one[name], rtol=1e-12, err_msg=name)

    code, _, error = run("--gin_param=embed.batch_size = 3")
    assert code == 2
    assert "`embed.batch_size` must be divisible by the number of replicas (2), got 3" in error
