"""The command itself, `python -m launch.train`, in processes of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.fixtures import commands, tiny_runs

pytestmark = [pytest.mark.processes, pytest.mark.slow]

# Moving averages, a learning rate that changes, and epochs that end between batches.
GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.optimizer = @Adam
train.num_steps = 300
train.batch_size = 8
train.steps_per_loop = 50
train.ema_decay = 0.99
train.callbacks = [@Progress(), @Evaluation(), @Images(), @Summaries(), @Checkpoints(), @Pause()]
Arrays.train = 'images.npy'
VAE.num_latents = 2
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
Adam.learning_rate = @CosineDecay()
CosineDecay.initial_learning_rate = 1e-2
CosineDecay.decay_steps = 300
Evaluation.every_steps = 120
Images.every_steps = 150
Checkpoints.every_steps = 60
"""


def run_plainly(command, name, *arguments):
    """Runs the command as people do; returns (exit code, stdout, stderr) as `Runs.run` does."""
    flags = ["--gin_file=tiny.gin", f"--workdir=runs/{name}", "--plugin=pause_plugin", *arguments]
    paths = os.pathsep.join([str(commands.REPOSITORY), str(commands.FIXTURES)])
    done = subprocess.run(
        [sys.executable, "-m", "launch.train", *flags],
        cwd=command.folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return commands.Finished(done.returncode, done.stdout, commands.without_greetings(done.stderr))


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    np.save(folder / "images.npy", tiny_runs.images(60))
    return commands.Runs(folder, GIN, "pause_plugin")


@pytest.fixture(scope="module")
def undisturbed(command):
    """The run that nothing disturbs: what it printed, and its folder."""
    code, out, error = run_plainly(command, "tiny")
    assert code == 0, error
    return out, error, command.workdir("tiny")


def test_the_work_folder(undisturbed):
    out, error, folder = undisturbed
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "checkpoints", "config.gin", "data.json", "environment.json", "images", "metrics.jsonl",
        "operative_config.gin", "result.json", "tensorboard",
    }  # fmt: skip
    assert f"{folder.relative_to(folder.parents[1])}/result.json" in out
    assert "tensorboard --logdir" in out
    assert "step 300/300" in error
    assert "VAE, 1,156 weights" not in out

    lines = tiny_runs.metrics_lines(folder)
    # Loops of 50, cut at the multiples of 60, 120 and 150.
    assert [line["step"] for line in lines] == [50, 60, 100, 120, 150, 180, 200, 240, 250, 300]
    for line in lines:
        assert line["examples_seen"] == 8 * line["step"]
        assert line["examples_per_second"] > 0
        assert np.isfinite(list(line.values())).all()
        assert ("evaluation/negative_elbo" in line) == (line["step"] in (120, 240, 300))
        loss = line["train/reconstruction_loss"] + line["train/kl"]
        assert line["train/loss"] == pytest.approx(loss, rel=1e-5)
    assert [line["wall_seconds"] for line in lines] == sorted(line["wall_seconds"] for line in lines)
    assert lines[-1]["train/loss"] < lines[0]["train/loss"]
    assert lines[-1]["train/learning_rate"] == pytest.approx(0, abs=1e-6)

    result = json.loads((folder / "result.json").read_text())
    assert result["step"] == 300
    assert result["num_replicas"] == 1
    assert result["wall_seconds"] > 0
    assert re.fullmatch("[0-9a-f]{64}", result["weights_sha256"])
    assert {name: result[name] for name in lines[-1]} == lines[-1]

    assert {path.name for path in (folder / "images").iterdir()} == {
        f"{name}-{step:08d}.png"
        for name in ("reconstructions", "samples", "traversals")
        for step in (150, 300)
    }
    # The three newest; the best is among them or a fourth.
    steps = sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").iterdir())
    assert steps[-3:] == [180, 240, 300]
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))

    environment = json.loads((folder / "environment.json").read_text())
    assert environment["command"][1:] == [
        "--gin_file=tiny.gin", "--workdir=runs/tiny", "--plugin=pause_plugin"
    ]  # fmt: skip
    assert environment["devices"] == "1 CPU replica"
    assert "Adam.learning_rate = @CosineDecay()" in (folder / "config.gin").read_text()
    assert "CosineDecay.alpha = 0.0" in (folder / "operative_config.gin").read_text()


@pytest.mark.long
def test_a_finished_run_says_so_and_changes_nothing(command, undisturbed):
    *_, folder = undisturbed

    def contents():
        return {
            path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
        }

    before = contents()
    code, out, error = command.run("tiny")
    assert (code, error) == (0, "")
    assert out.startswith("this run is finished: ")
    assert out.count("\n") == 1
    assert "step 300" in out
    assert contents() == before


@pytest.mark.long
def test_the_forked_command_of_the_tests_is_the_command(command, undisturbed):
    """Else what follows, and the tests of faults, show nothing of what people run."""
    out, _error, _folder = undisturbed
    forked = command.run("forked")
    assert (forked.code, forked.out.replace("forked", "tiny")) == (0, out)
    assert command.result("forked")["weights_sha256"] == command.result("tiny")["weights_sha256"]
    assert same_training(command, "forked", "tiny")
    one, other = (
        json.loads((command.workdir(name) / "environment.json").read_text()) for name in ("tiny", "forked")
    )
    assert one.pop("command")[0] == other.pop("command")[0]
    assert one == other
    assert run_plainly(command, "bad", "--no_such_flag") == command.run("bad", "--no_such_flag")


def same_training(command, name, other):
    """Whether two runs logged the same losses and evaluations, bit for bit."""
    return command.lines(name) == command.lines(other)


def test_stopped_at_120_and_resumed_it_ends_with_the_same_bits(command, undisturbed):
    assert command.run("halves", "--gin_param=train.num_steps = 120").code == 0
    assert command.result("halves")["step"] == 120

    code, _, error = command.run("halves")
    assert code == 2
    assert error.startswith("launch.train: error: the work folder runs/halves was made with another config")
    assert "  -train.num_steps = 120\n  +train.num_steps = 300\n" in error
    assert "Traceback" not in error
    assert command.result("halves")["step"] == 120

    assert command.run("halves", "--allow_config_change").code == 0
    assert command.result("halves")["weights_sha256"] == command.result("tiny")["weights_sha256"]
    assert same_training(command, "halves", "tiny")


@pytest.mark.long
def test_signals_and_a_kill_lose_nothing(command, undisturbed):
    disturbed = command.workdir("disturbed")

    def start_until(step, pause_seconds=1):
        before = command.text("disturbed")
        process = command.start("disturbed", environment={"PAUSE_SECONDS": pause_seconds})
        process.wait_until(
            lambda: command.text("disturbed") != before and command.last_step("disturbed") == step
        )
        return process

    # SIGTERM: the loop ends, the state is saved.
    process = start_until(step=50)
    process.send_signal(signal.SIGTERM)
    finished = process.finish()
    assert (finished.code, finished.out) == (42, "")
    told = commands.message(finished)
    assert re.fullmatch(r"launch.train: preempted: SIGTERM at step 50: the state is saved; .*", told)
    assert (disturbed / "checkpoints" / "step-00000050").is_dir()
    assert not (disturbed / "result.json").exists()

    # SIGKILL, after a line that no checkpoint holds.
    process = start_until(step=100)
    process.kill()
    assert process.finish().code == -signal.SIGKILL
    assert list(command.lines("disturbed")) == [50, 60, 100]

    # SIGINT, and a second one, which does not wait for the loop's end.
    process = start_until(step=100, pause_seconds=600)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)  # Signals within a second are one.
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.finish().code == 130

    assert command.run("disturbed").code == 0
    assert command.result("disturbed")["weights_sha256"] == command.result("tiny")["weights_sha256"]
    assert same_training(command, "disturbed", "tiny")
    assert not list(disturbed.rglob(".unfinished*"))


@pytest.mark.long
def test_two_virtual_devices(command, undisturbed):
    *_, folder = undisturbed
    code, _, error = command.run("two", "--virtual_devices=2", "--gin_param=train.batch_size = 9")
    assert code == 2
    assert "launch.train: error: `train.batch_size`" in error
    assert "replicas (2)" in error
    assert "got 9" in error
    assert "Traceback" not in error
    assert not command.workdir("two").exists()

    code, _, error = command.run("two", "--virtual_devices=2")
    assert code == 0, error
    assert command.result("two")["num_replicas"] == 2
    assert "2 CPU replicas" in error
    one, two = (tiny_runs.metrics_lines(path) for path in (folder, command.workdir("two")))
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for name in ("train/loss", "train/kl", "train/learning_rate", "evaluation/negative_elbo"):
        assert two[-1][name] == pytest.approx(one[-1][name], rel=1e-3, abs=1e-6), name


@pytest.mark.long
def test_a_bad_value_is_one_message_and_the_forked_command_says_the_same(command):
    plain = run_plainly(command, "bad", "--gin_param=VAE.num_latents = 0")
    assert (plain.code, plain.out) == (2, "")
    assert re.fullmatch(
        r"launch.train: error: .*`VAE.num_latents` must be a positive .*, got 0.*", plain.error
    )
    assert not command.workdir("bad").exists()
    assert plain == command.run("bad", "--gin_param=VAE.num_latents = 0")
