"""The command that measures: what it writes, what it refuses, and how it ends."""

import json
import pathlib
import signal

import numpy as np
import pytest

from tests.fixtures import commands, tiny_runs
from tests.fixtures.measurements import measurement
from vaeflow.commands import command_line
from vaeflow.commands.programs import benchmark
from vaeflow.errors import EnvironmentFailure
from vaeflow.profiling.processes import Measurer

GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 20
train.batch_size = 8
train.steps_per_loop = 5
train.compile_mode = 'none'
train.resident_data = False
Arrays.train = 'images.npy'
VAE.num_latents = 2
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
"""
WORKDIR = pathlib.Path("runs/benchmark-tiny")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with `tiny.gin` and its data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.gin").write_text(GIN)
    np.save(tmp_path / "images.npy", tiny_runs.images(40))
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """Runs the command in this process: (exit code, stdout, stderr)."""

    def run(*parameters, flags=("--gin_file=tiny.gin",)):
        given = [*flags, *(f"--gin_param={parameter}" for parameter in parameters)]
        with tiny_runs.configuration_of_its_own():
            code = command_line.main(benchmark.COMMAND, given)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def asked(monkeypatch):
    """The cases that were measured; no process is started."""
    asked = []

    def measure(self, case, arithmetic=False, trace=None):
        asked.append(str(case))
        settings = dict(case.settings)
        if settings.get("steps_per_loop") == 1:
            raise EnvironmentFailure("out of memory: OOM")
        batch_size = settings.pop("batch_size", 8)
        facts = {"resident": False, "num_replicas": case.devices or 1} | settings
        return measurement(batch_size=batch_size, **facts)

    monkeypatch.setattr(Measurer, "measure", measure)
    return asked


def test_what_is_measured(run, asked):
    code, out, error = run("benchmark.rounds = 2")
    assert code == 0
    others = ["compile_mode step", "steps_per_loop 1", "steps_per_loop 10"]
    others += ["batch_size 8, 2 devices", "batch_size 16, 2 devices"]
    second = ["as configured", *(case for case in others if case != "steps_per_loop 1")]
    assert asked == ["as configured", *others, *second]
    assert "  1: out of memory: OOM" in out
    assert "loop: `train.compile_mode` 'loop' needs the data" in out
    assert "[2/12] measuring: compile_mode step, about 0:00 left" in error
    assert {path.name for path in WORKDIR.iterdir()} == {
        ".lock", "benchmark.gin", "benchmark.json", "benchmark.png",
    }  # fmt: skip


def test_virtual_devices_are_the_run_and_the_most_replicas(run, asked):
    assert run("benchmark.rounds = 1", flags=["--gin_file=tiny.gin", "--virtual_devices=4"])[0] == 0
    assert asked[0] == "4 devices"
    assert "batch_size 8, 2 devices" in asked
    assert "batch_size 2, 1 device" in asked
    assert "batch_size 8, 4 devices" not in asked


def test_what_is_chosen(run, asked):
    chosen = ("compile_modes = 'step'", "steps_per_loop = 5", "replicas = [1, 3]", "rounds = 1")
    assert run(*(f"benchmark.{setting}" for setting in chosen))[0] == 0
    assert asked == ["as configured", "compile_mode step", "batch_size 24, 3 devices"]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("benchmark.seconds = 0", "`benchmark.seconds` must be a number above 0, got 0"),
        ("benchmark.second = 1", "did you mean 'seconds'"),
        ("benchmark.rounds = 1.5", "`benchmark.rounds` must be a positive integer, got 1.5"),
        ("benchmark.compile_modes = ['auto']", "`benchmark.compile_modes` must be one of 'none'"),
        ("benchmark.compile_modes = None", "`benchmark.compile_modes` must be a list"),
        ("benchmark.steps_per_loop = [0]", "`benchmark.steps_per_loop` must be a positive integer, got 0"),
        ("benchmark.replicas = 'all'", "`benchmark.replicas` must be a list of positive integers, got 'all'"),
        ("benchmark.trace = 'yes'", "`benchmark.trace` must be True or False, got 'yes'"),
        ("benchmark.workdir = 'here'", "use the flag --workdir"),
        ("train.batch_sizes = 8", "did you mean 'batch_size'"),
        ("train.batch_size = 0", "`train.batch_size` must be a positive integer, got 0"),
        ("train.num_steps = 'many'", "`train.num_steps` must be a positive integer, got 'many'"),
        ("BetaVAE.num_latents = 2", "BetaVAE"),
    ],
)
def test_bad_settings(run, asked, parameter, message):
    code, out, error = run(parameter)
    assert (code, out, asked) == (2, "", [])
    assert message in error
    assert "Traceback" not in error
    assert not WORKDIR.exists()


def test_no_gin_file(run, asked):
    code, _, error = run(flags=[])
    assert code == 2
    assert "give --gin_file=vae.gin or another file" in error
    code, _, error = run(flags=["--gin_file=tny.gin"])
    assert code == 2
    assert "tny.gin" in error
    assert asked == []


def test_the_folder_of_a_run_is_left_alone(run, asked, folder):
    (folder / "mine" / "checkpoints").mkdir(parents=True)
    code, _, error = run(flags=["--gin_file=tiny.gin", "--workdir=mine"])
    assert code == 2
    assert "mine is the work folder of a run; choose another with `--workdir`" in error
    assert asked == []
    assert len(list((folder / "mine").iterdir())) == 1


def test_several_workers(run, asked, monkeypatch):
    workers = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    code, _, error = run()
    assert code == 2
    assert "this measures one machine" in error


def test_the_run_itself_cannot_be_measured(run, monkeypatch):
    def measure(*_, **__):
        raise EnvironmentFailure("out of memory: OOM")

    monkeypatch.setattr(Measurer, "measure", measure)
    code, out, error = run()
    assert (code, out) == (4, "")
    assert "vaeflow benchmark: error: out of memory: OOM" in error
    assert not WORKDIR.exists()


def start(folder, *parameters):
    arguments = [f"--gin_param=benchmark.{parameter}" for parameter in parameters]
    return commands.Command("launch.benchmark", ["--gin_file=tiny.gin", *arguments], folder)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.processes
def test_the_command_itself(folder):
    """The run, and two replicas of 9 images; all other rows are the run itself or impossible."""
    settings = ("rounds = 1", "seconds = 0.05", "compile_modes = ['none', 'loop']", "steps_per_loop = 5")
    (folder / "tiny.gin").write_text(GIN.replace("batch_size = 8", "batch_size = 9"))
    finished = start(folder, *settings, "replicas = [1, 2]", "trace = True").finish()
    assert finished.code == 0, finished
    found = json.loads((folder / WORKDIR / "benchmark.json").read_text())
    run, (_, impossible), (one, two) = found["run"], found["strong_scaling"], found["weak_scaling"]
    assert impossible["reason"] == "a batch of 9 images cannot be divided into 2 equal parts"
    # As tests/test_flops.py computes it.
    assert run["step_flops"] == 2 * 9 * (3 * (64 * 8 + 8 * 4 + 2 * 8 + 8 * 64) - 64 * 8)
    assert run["matrix_product_flops_per_second"] > 0
    assert (one["batch_size"], two["batch_size"], two["num_replicas"]) == (9, 18, 2)
    for each in (run, two):
        parts = each["step_seconds"]
        total = parts.pop("total")
        assert all(seconds >= 0 for seconds in parts.values())
        assert sum(parts.values()) == pytest.approx(total)
        assert total == pytest.approx(each["batch_size"] / each["images_per_second"]["median"])
        assert each["first_step_seconds"] > 0
        assert 2**26 < each["peak_memory_bytes"] < 2**33
    assert found["compile_modes"][1].keys() == {"compile_mode", "reason"}
    assert list((folder / WORKDIR / "trace").rglob("*.xplane.pb"))
    assert "Weak scaling" in finished.out
    assert "benchmark.json" in finished.out
    assert not (folder / "runs" / "tiny").exists()


@pytest.mark.long
@pytest.mark.processes
def test_a_bad_value_is_told_by_the_first_process(folder):
    flags = ["--gin_file=tiny.gin", "--gin_param=train.batch_size = 9", "--virtual_devices=2"]
    finished = commands.Command("launch.benchmark", flags, folder).finish()
    message = commands.message(finished)
    assert finished.code == 2
    assert "(2)" in message
    assert "got 9" in message
    assert not (folder / WORKDIR).exists()


def measures(pid):
    """Whether the measuring process has started: no mere fork of the command, and with TensorFlow."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(
        "profiling.process" in pathlib.Path(f"/proc/{child}/cmdline").read_text()
        and "tensorflow" in pathlib.Path(f"/proc/{child}/maps").read_text()
        for child in children
    )


@pytest.mark.processes
def test_an_interrupt_ends_the_measuring_process_too(folder):
    command = start(folder, "seconds = 60.0")
    command.wait_until(lambda: measures(command.pid))
    command.send_signal(signal.SIGINT)
    assert command.finish().code == 128 + signal.SIGINT
