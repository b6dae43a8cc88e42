"""Training with Ray's workers, as people start it: on a cluster of two machines, both of them this one."""

import json
import os
import re
import signal
import sys
import threading
import time
import types

import numpy as np
import pytest

from tests.fixtures import ray_clusters, tiny_runs
from tests.fixtures.commands import Command, Runs
from vaeflow.clusters import ray as ray_cluster
from vaeflow.clusters import ray_worker
from vaeflow.commands import command_line
from vaeflow.commands.programs import ray_train
from vaeflow.errors import RunError
from vaeflow.runs.signals import StopRequest

pytestmark = [pytest.mark.processes, pytest.mark.slow]

# Moving averages, a learning rate that changes, and epochs that end between batches.
GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.optimizer = @Adam
train.num_steps = 200
train.batch_size = 8
train.steps_per_loop = 10
train.precision = 'float64'
train.ema_decay = 0.99
train.callbacks = [@Progress(), @Evaluation(), @Checkpoints(), @Pause()]
Arrays.train = 'images.npy'
VAE.num_latents = 2
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
Adam.learning_rate = @CosineDecay()
CosineDecay.initial_learning_rate = 1e-2
CosineDecay.decay_steps = 200
Evaluation.every_steps = 100
Checkpoints.every_steps = 40
"""


class RayRuns(Runs):
    """Trainings with Ray, and without."""

    address = None

    def start_ray(self, name, *arguments, max_failures=0):
        """Starts `launch.ray_train`; returns a `Command`."""
        own = ["--num_workers=2", f"--address={self.address}", f"--max_failures={max_failures}"]
        train = ["--gin_file=tiny.gin", f"--workdir=runs/{name}", f"--plugin={self.plugin}", *arguments]
        return Command("launch.ray_train", [*own, "--", *train], self.folder, ray_clusters.ENVIRONMENT)

    def worker(self, name, index):
        """The process of a worker."""
        return json.loads((self.workdir(name) / "workers" / f"{index}.json").read_text())["pid"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    np.save(folder / "images.npy", tiny_runs.images(60))
    return RayRuns(folder, GIN, "pause_plugin")


@pytest.fixture(scope="module")
def cluster(runs):
    """A cluster of two machines, whose workers train slowly enough to be caught."""
    with ray_clusters.running(PAUSE_SECONDS="0.15") as runs.address:
        yield


def reports(out):
    """What the workers reported to Ray, and Ray to the command."""
    return [json.loads(line[line.index("{") :]) for line in out.splitlines() if "(TrainController" in line]


@pytest.mark.roulette
def test_a_signal_and_a_killed_worker_change_nothing(runs, cluster):
    undisturbed = runs.start("undisturbed", environment=ray_clusters.ENVIRONMENT)
    workdir = runs.workdir("disturbed")

    command = runs.start_ray("disturbed")
    command.wait_until(lambda: runs.last_step("disturbed") >= 20, ray_clusters.PATIENCE)
    command.send_signal(signal.SIGTERM)
    code, _, error = command.finish(ray_clusters.PATIENCE)
    assert code == 42, error
    (message,) = re.findall("^launch.ray_train: .*", error, re.MULTILINE)
    step = int(re.fullmatch(r".*: preempted: SIGTERM at step (\d+): the state is saved; .*", message)[1])
    assert 20 <= step < 100
    assert runs.store("disturbed").steps()[-1] == step

    command = runs.start_ray("disturbed", max_failures=1)
    command.wait_until(lambda: runs.last_step("disturbed") >= 130, ray_clusters.PATIENCE)
    killed = runs.worker("disturbed", 1)
    os.kill(killed, signal.SIGKILL)
    code, out, error = command.finish(ray_clusters.PATIENCE)
    assert code == 0, error
    assert "launch.ray_train: worker 1 failed: its process died\n" in error
    assert runs.worker("disturbed", 1) != killed
    assert json.loads((workdir / "environment.json").read_text())["resumed"] in ("at step 120", "at step 160")

    assert list(runs.lines("disturbed")) == list(range(10, 201, 10))
    result = runs.result("disturbed")
    assert (result["step"], result["num_replicas"]) == (200, 2)
    reported = reports(out)
    assert len(reported) > 2
    assert {report["step"] for report in reported} <= runs.lines("disturbed").keys()
    assert reported[-1].items() <= result.items()
    assert reported[-1]["step"] == 200

    assert undisturbed.finish(ray_clusters.PATIENCE).code == 0
    expected, weights = (runs.store(name).read_weights(200) for name in ("undisturbed", "disturbed"))
    for kind in ("model", "averages"):
        assert len(weights[kind]) == len(expected[kind]) > 0
        for one, other in zip(weights[kind], expected[kind]):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=0)


class Worker:
    """What a worker asks of Ray, without Ray."""

    def __init__(self, monkeypatch, rank=0):
        self.job = ray_cluster.Job()
        self.started = False
        context = types.SimpleNamespace(get_world_rank=lambda: rank)
        monkeypatch.setattr("ray.get", lambda value: value)
        monkeypatch.setattr("ray.train.get_context", lambda: context)
        monkeypatch.chdir(".")
        monkeypatch.setattr("sys.path", list(sys.path))

    def __getattr__(self, name):
        return types.SimpleNamespace(remote=getattr(self.job, name))

    def work(self, code, folder="."):
        def train(arguments, extra_callbacks):
            self.started = True
            return code, f"because of {arguments}"

        ray_cluster._work({"train": train, "arguments": "x", "folder": folder, "job": self})


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_failure_ends_the_others_and_one_for_good_is_not_tried_again(monkeypatch, code):
    worker = Worker(monkeypatch, rank=1)
    with pytest.raises(RunError, match="because of x"):
        worker.work(code)
    assert worker.job.end_so_far() == (None if code == 4 else (code, "because of x"))

    worker.started = False
    worker.work(0)
    assert worker.started == (code == 4)


@pytest.mark.parametrize(("rank", "expected"), [(0, (42, "because of x")), (1, None)])
def test_who_is_preempted_ends_without_failure_so_that_the_chief_can_save(monkeypatch, rank, expected):
    worker = Worker(monkeypatch, rank)
    worker.work(42)
    assert worker.job.end_so_far() == expected


@pytest.mark.parametrize("is_chief", [True, False])
def test_the_chief_hears_of_a_signal_between_two_logs(monkeypatch, is_chief):
    worker = Worker(monkeypatch)
    monkeypatch.setattr(ray_worker, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr("ray.train.report", lambda metrics: None)
    workdir, request = types.SimpleNamespace(writable=is_chief), StopRequest()
    run = types.SimpleNamespace(workdir=workdir, stop_request=request, metrics={})
    reporting = ray_worker.Reporting(worker)
    threads = set(threading.enumerate())
    reporting.on_train_begin(run)
    assert len(set(threading.enumerate()) - threads) == is_chief
    worker.job.stop("SIGTERM")
    deadline = time.monotonic() + 10
    while is_chief and request.name is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert request.name == ("SIGTERM" if is_chief else None)
    reporting.on_train_end(run)


def test_the_folder_must_be_there_on_every_machine(monkeypatch, tmp_path):
    worker = Worker(monkeypatch)
    with pytest.raises(RunError, match=r"nowhere cannot be entered on .*No such file"):
        worker.work(0, tmp_path / "nowhere")
    assert worker.job.end_so_far()[0] == 2
    assert not worker.started


@pytest.mark.long
def test_a_bad_configuration_is_refused_before_ray_is_asked(runs):
    code, out, error = runs.start_ray("bad", "--gin_param=VAE.num_latens = 3").finish()
    assert (code, out) == (2, "")
    assert re.fullmatch(r"launch.ray_train: error: .*num_latens.*num_latents.*", error)


@pytest.mark.long
def test_no_cluster_answers(runs, monkeypatch):
    monkeypatch.setattr(runs, "address", "127.0.0.1:1")
    code, out, error = runs.start_ray("nowhere").finish()
    assert (code, out) == (2, "")
    assert re.fullmatch("launch.ray_train: error: --address=127.0.0.1:1: there is no Ray cluster .*", error)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--num_workers=0"], "--num_workers=0"),
        (["--max_failures=-1"], "--max_failures=-1"),
        (["--gin_file=x.gin"], "unknown flag --gin_file"),
        (["--", "--num_workers=2"], "unknown flag --num_workers"),
    ],
)
def test_wrong_flags_are_refused(flags, expected, capsys):
    assert command_line.main(ray_train.COMMAND, flags) == 2
    assert expected in capsys.readouterr().err


def test_it_says_what_to_install(monkeypatch, capsys):
    for name in ("ray", "ray_connection"):
        monkeypatch.delitem(sys.modules, f"vaeflow.clusters.{name}", raising=False)
        monkeypatch.delattr(f"vaeflow.clusters.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert command_line.main(ray_train.COMMAND, ["--", "--gin_file=vae.gin"]) == 2
    assert "pip install 'vaeflow[ray]'" in capsys.readouterr().err
