"""Runs of the command in this process: refused settings, bad data, divergence, and a failing disk."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from tests.fixtures.disk import full_disk
from vaeflow.commands import command_line
from vaeflow.commands.programs import train as command
from vaeflow.datasets.base import SPLITS
from vaeflow.runs.checkpoints import CheckpointStore

GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 20
train.batch_size = 8
train.steps_per_loop = 5
train.compile_mode = 'none'
train.callbacks = [@Checkpoints()]
Arrays.train = 'images.npy'
VAE.num_latents = 2
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
Checkpoints.every_steps = 10
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with `tiny.gin` and its data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.gin").write_text(GIN)
    np.save(tmp_path / "images.npy", tiny_runs.images(40))
    with tiny_runs.configuration_of_its_own():
        yield tmp_path


@pytest.fixture
def run(folder, capsys):
    """Runs the command in this process: (exit code, stdout, stderr)."""

    def run(*parameters, gin_file="tiny.gin"):
        capsys.readouterr()
        flags = [f"--gin_param={parameter}" for parameter in parameters]
        code = command_line.main(command.COMMAND, [f"--gin_file={gin_file}", *flags])
        return code, *capsys.readouterr()

    return run


WORKDIR = pathlib.Path("runs/tiny")

REFUSED = {
    "VAE.num_latents = 0": "`VAE.num_latents` must be a positive integer, got 0",
    "VAE.nm_latents = 4": "num_latents",
    "VAE.encoder = @DenseEncoder": "`VAE.encoder` must be a Keras layer",
    "BetaVAE.num_latents = 4": "BetaVAE.num_latents",
    "train.batch_size = -1": "`train.batch_size` must be a positive integer, got -1",
    "train.batch_size = '8'": "`train.batch_size` must be a positive integer, got '8'",
    "train.num_steps = 0": "`train.num_steps` must be a positive integer, got 0",
    "train.seed = -1": "`train.seed`",
    "train.seed = 5000000000000": "`train.seed`",
    "train.steps_per_loop = 0": "`train.steps_per_loop`",
    "train.precision = 'float16'": "`train.precision` must be one of 'float32'",
    "train.compile_mode = 'fast'": "`train.compile_mode` must be one of 'auto'",
    "train.resident_data = 'maybe'": "`train.resident_data` must be True, False or 'auto', got 'maybe'",
    "train.gradient_clip_norm = 0": "`train.gradient_clip_norm` must be a number above 0, got 0",
    "train.gradient_accumulation_steps = 3": "`train.gradient_accumulation_steps` (3), got 8; try 9",
    "train.ema_decay = 1": "`train.ema_decay` must be a number in [0, 1), got 1",
    "train.model = @VAE()": "train.model = @Name without parentheses",
    "train.model = @DenseEncoder": "`train.model` must make a Model",
    "train.model = @NoSuchModel": "NoSuchModel",
    "train.optimizer = 'adam'": "`train.optimizer` must be a class or function",
    "train.dataset = @Arrays": "train.dataset = @Name() with parentheses",
    "train.strategy = 'mirrored'": "`train.strategy`",
    "train.callbacks = @Checkpoints()": "`train.callbacks`",
    "train.callbacks = [@Checkpoints]": "`train.callbacks`",
    "train.allow_config_change = True": "--allow_config_change",
    "Checkpoints.every_steps = 0": "`Checkpoints.every_steps` must be a positive integer, got 0",
    "Checkpoints.keep = 0": "`Checkpoints.keep` must be a positive integer, got 0",
    "Arrays.train = 'missing.npy'": "`Arrays.train` must be an existing file, got 'missing.npy'",
}


@pytest.mark.parametrize("parameter", REFUSED)
def test_a_bad_value_is_refused_and_nothing_is_made(run, parameter):
    code, out, error = run(parameter)
    assert (code, out) == (2, "")
    (message,) = re.findall(r"^vaeflow train: error: .*", error, re.MULTILINE)
    assert REFUSED[parameter] in message
    assert "Traceback" not in error
    assert not WORKDIR.exists()


def test_a_missing_gin_file(run):
    code, _, error = run(gin_file="tiy.gin")
    assert code == 2
    assert "tiy.gin" in error
    assert not pathlib.Path("runs").exists()


def test_what_is_required(run, folder):
    (folder / "tiny.gin").write_text(GIN.replace("train.model = @VAE\n", ""))
    code, _, error = run()
    assert code == 2
    assert "model" in error
    assert "Traceback" not in error
    assert not WORKDIR.exists()


@pytest.mark.parametrize("pixel", [np.nan, np.inf, 1.5, -0.1])
def test_a_bad_pixel_is_found_before_training(run, folder, pixel):
    array = np.linspace(0, 1, 40 * 64).reshape(40, 8, 8)
    array[7, 3, 5] = pixel
    np.save(folder / "images.npy", array)
    code, _, error = run()
    assert code == 4
    assert "images.npy, record 7: a pixel is" in error
    assert "Traceback" not in error
    assert not WORKDIR.exists()


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_unreadable_data(run, folder, content):
    (folder / "images.npy").write_bytes(content)
    code, _, error = run()
    assert code == 4
    assert "images.npy cannot be read" in error
    assert "Traceback" not in error
    assert not WORKDIR.exists()


@pytest.mark.parametrize("split", ["train", "evaluation"])
def test_a_file_among_the_images_that_is_none(run, split):
    for number in range(20):
        picture = tf.io.encode_png(tiny_runs.images(1, seed=number)[0])
        tf.io.write_file(f"pictures/{SPLITS[number % 2]}/{number}.png", picture)
    pathlib.Path("pictures", split, "7.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    code, _, error = run(
        "train.dataset = @ImageFolder()",
        "ImageFolder.folder = 'pictures'",
        "ImageFolder.image_size = (8, 8)",
        "ImageFolder.channels = 1",
    )
    assert code == 4
    assert f"files cannot be decoded as images: pictures/{split}/7.png" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_another_configuration_is_refused(run):
    assert run()[0] == 0
    before = (WORKDIR / "config.gin").read_text()
    code, _, error = run("VAE.num_latents = 3")
    assert code == 2
    assert "  -VAE.num_latents = 2\n  +VAE.num_latents = 3\n" in error
    assert "--allow_config_change" in error
    assert (WORKDIR / "config.gin").read_text() == before
    # Comments and the order of statements are not the configuration.
    pathlib.Path("tiny.gin").write_text("# A comment.\n" + "\n".join(reversed(GIN.splitlines())))
    code, out, _ = run()
    assert code == 0
    assert "this run is finished" in out


@pytest.mark.slow
def test_config_gin_is_a_whole_configuration(run, folder):
    (folder / "base.gin").write_text(GIN)
    (folder / "tiny.gin").write_text("include 'base.gin'\nVAE.num_latents = 3\n")
    assert run("train.num_steps = 10")[0] == 0
    sha = json.loads((WORKDIR / "result.json").read_text())["weights_sha256"]
    for name in ("base.gin", "tiny.gin"):
        (folder / name).unlink()
    shutil.copy(WORKDIR / "config.gin", folder / "again.gin")
    assert run(gin_file="again.gin")[0] == 0
    assert json.loads(pathlib.Path("runs/again/result.json").read_text())["weights_sha256"] == sha


@pytest.mark.slow
@pytest.mark.parametrize("compile_mode", ["none", "loop"])
def test_divergence_names_step_and_term_and_keeps_the_last_checkpoint(run, compile_mode):
    code, _, error = run(
        f"train.compile_mode = '{compile_mode}'",
        "train.optimizer = @SGD",
        "SGD.learning_rate = @PiecewiseConstantDecay()",
        "PiecewiseConstantDecay.boundaries = [11]",
        "PiecewiseConstantDecay.values = [0.0001, 1e20]",
    )
    assert code == 3
    assert "Traceback" not in error
    # The update of step 12 is the first that is too large; step 13 computes with it.
    assert re.search(r"training diverged at step 13: \w+ is not finite; its update was skipped", error)
    assert any(f": {term} is not" in error for term in ("reconstruction_loss", "kl", "gradient_norm"))
    assert [path.name for path in (WORKDIR / "checkpoints").iterdir()] == ["step-00000010"]
    assert CheckpointStore(WORKDIR / "checkpoints").problem_with(10) is None
    assert not (WORKDIR / "result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kilobytes", "callback", "named"),
    [
        (0, "Checkpoints", "config.gin cannot be written"),
        # More than the files of configuration, less than a picture or the events of a run.
        pytest.param(3, "Images", "images/samples-00000020.png cannot be written", marks=pytest.mark.long),
        pytest.param(3, "Summaries", "tensorboard cannot be written", marks=pytest.mark.long),
        (8, "Checkpoints", "checkpoints/step-00000010 cannot be written"),
    ],
)
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(run, kilobytes, callback, named):
    callbacks = f"train.callbacks = [@{callback}()]"
    with full_disk(kilobytes):
        code, _, error = run(callbacks)
    assert code == 4
    assert "Traceback" not in error
    (message,) = re.findall(r"^vaeflow train: error: .*", error, re.MULTILINE)
    assert named in message
    assert "File too large" in message
    assert not list(pathlib.Path().rglob(".unfinished*"))
    assert run(callbacks)[0] == 0
    disturbed = json.loads((WORKDIR / "result.json").read_text())["weights_sha256"]
    shutil.rmtree(WORKDIR)
    assert run(callbacks)[0] == 0
    assert json.loads((WORKDIR / "result.json").read_text())["weights_sha256"] == disturbed


def test_a_factory_that_is_none_is_refused_before_anything_is_made(run, monkeypatch):
    # TensorFlow would write log lines when its devices start.
    monkeypatch.setattr("vaeflow.commands.train.session.run", lambda *arguments: pytest.fail("too late"))
    code, _, error = run("train.model = 'ConvVAE'")
    assert (code, error.count("\n")) == (2, error.count("has no effect") + error.count("does not read") + 1)
    assert "`train.model` must be a class or function" in error


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("Adam.learning_rate = -1.0", "`Adam.learning_rate` must be a number of at least 0, got -1.0"),
        ("Adam.learning_rate = 1e999", "`Adam.learning_rate` must be a number of at least 0, got inf"),
        ("VAE.num_latents = 1000000000000", "`VAE.num_latents` must be at most 2,147,483,647"),
        ("train.steps_per_loop = 1000000000", "`train.steps_per_loop` must be at most"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_with_its_place(run, parameter, expected):
    code, _, error = run("train.optimizer = @Adam", parameter)
    assert code == 2
    assert expected in error


@pytest.mark.slow
def test_a_mirrored_run_ignores_the_other_processes_of_its_job(run, monkeypatch):
    # Without that the second process would wait for the first, and write nothing.
    content = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    code, _, error = run("train.strategy = @mirrored", "train.num_steps = 5", "train.start_seconds = 1")
    assert (code, error) == (0, "")
    assert (WORKDIR / "result.json").exists()
