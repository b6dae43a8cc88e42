"""Several workers on this machine: what they compute, and what becomes of them when one is lost."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.fixtures import tiny_runs
from tests.fixtures.commands import FIXTURES, REPOSITORY, Command, listening_sockets, message
from vaeflow.clusters.local import _free_ports
from vaeflow.devices.workers import Workers, to_tf_config
from vaeflow.runs.checkpoints import CheckpointStore

pytestmark = [pytest.mark.processes, pytest.mark.slow]

GIN = """
train.model = @ConditionalVAE  # So that labels are handed to workers, too.
train.dataset = @Arrays()
train.num_steps = 100
train.batch_size = 8
train.steps_per_loop = 5
train.precision = 'float64'
train.ema_decay = 0.99
train.peer_seconds = 4
train.start_seconds = 60
train.callbacks = [@Progress(), @Evaluation(), @Images(), @Summaries(), @Checkpoints(), @Pause()]
Arrays.train = 'images.npz'
Arrays.key = 'images'
Arrays.labels_key = 'labels'
ConditionalVAE.num_classes = 3
ConditionalVAE.num_latents = 2
ConditionalVAE.encoder = @DenseEncoder()
ConditionalVAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
Evaluation.every_steps = 50
Images.every_steps = 100
Checkpoints.every_steps = 10
"""
NET = ("num_latents = 2", "encoder = @DenseEncoder()", "decoder = @DenseDecoder()")
STREAMED = "--gin_param=train.resident_data = False"


class Job:
    """Runs of two workers, or of one process, in a folder with `tiny.gin` and its data."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "tiny.gin").write_text(GIN)
        np.savez(folder / "images.npz", images=tiny_runs.images(61), labels=np.arange(61) % 3)

    def arguments(self, name, *more):
        flags = ["--gin_file=tiny.gin", "--plugin=pause_plugin", f"--workdir={self.workdir(name)}"]
        return [*flags, *more]

    def start(self, name, *more, indices=(0, 1), pause_seconds=0.0):
        """Starts workers; returns their `Command`s."""
        addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(2))
        return [
            Command(
                "launch.train",
                self.arguments(name, *more),
                self.folder,
                {"TF_CONFIG": to_tf_config(Workers(addresses, index)), "PAUSE_SECONDS": str(pause_seconds)},
            )
            for index in indices
        ]

    def start_and_reach(self, name, step, pause_seconds=0.2):
        """Starts two slow workers and returns them when they have trained to `step`."""
        workers = self.start(name, STREAMED, pause_seconds=pause_seconds)
        workers[0].wait_until(lambda: f'"step": {step},' in content(self.workdir(name) / "metrics.jsonl"))
        return workers

    def workdir(self, name):
        return self.folder / "runs" / name

    def result(self, name):
        return json.loads((self.workdir(name) / "result.json").read_text())

    def weights(self, name):
        weights = CheckpointStore(self.workdir(name) / "checkpoints").read_weights(100)
        return [array.astype(float) for array in weights["model"] + weights["averages"]]


def content(path):
    return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return Job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def undisturbed(job):
    """Two workers to the end, with the data on the devices and streamed."""
    for name, more in (("resident", ()), ("streamed", (STREAMED,))):
        chief, other = [worker.finish() for worker in job.start(name, *more)]
        assert (chief.code, other.code) == (0, 0), (chief, other)
        assert "2 CPU replicas on 2 workers" in chief.error
        assert not other.out, "only the chief tells where everything is"
    return job


def test_two_workers_end_with_the_weights_of_one_process(undisturbed):
    assert Command("launch.train", undisturbed.arguments("one"), undisturbed.folder).finish().code == 0
    expected, result = undisturbed.weights("one"), undisturbed.result("one")
    for name in ("resident", "streamed"):
        for one, two in zip(expected, undisturbed.weights(name), strict=True):
            assert np.abs(one - two).max() <= 1e-9 * np.abs(one).max()
        found = undisturbed.result(name)
        assert (found["num_replicas"], result["num_replicas"]) == (2, 1)
        for metric in ("train/loss", "evaluation/negative_elbo", "evaluation/active_units"):
            assert found[metric] == pytest.approx(result[metric], rel=1e-9), metric


@pytest.mark.long
@pytest.mark.parametrize("model", ["ConditionalVAE", "BetaTCVAE"])
def test_two_workers_that_compile_their_steps_end_with_the_same_weights(job, model):
    """Of the BetaTCVAE, which gathers latents from the other worker, XLA compiles single blocks."""
    settings = (f"train.model = @{model}", *(f"{model}.{setting}" for setting in NET))
    for mode in ("none", "step"):
        flags = [f"--gin_param={each}" for each in (*settings, f"train.compile_mode = '{mode}'")]
        workers = job.start(f"{model}_{mode}", *flags)
        chief, other = [worker.finish(seconds=300) for worker in workers]
        assert (chief.code, other.code) == (0, 0), (chief, other)
    uncompiled, compiled = [job.weights(f"{model}_{mode}") for mode in ("none", "step")]
    for one, two in zip(uncompiled, compiled, strict=True):
        assert np.abs(one - two).max() <= 1e-9 * np.abs(one).max()


def test_only_the_chief_writes(undisturbed):
    """Fails when a second worker writes summaries, checkpoints or metrics beside the chief."""
    folder = undisturbed.workdir("streamed")
    # events.out.tfevents.<time>.<host>.<process>.<number>.v2
    writers = {path.name.split(".")[-3] for path in folder.glob("tensorboard/events*")}
    assert len(writers) == 1
    steps = [json.loads(line)["step"] for line in content(folder / "metrics.jsonl").splitlines()]
    assert steps == list(range(5, 101, 5))
    assert {path.name for path in (folder / "workers").iterdir()} == {"0.json", "1.json"}


@pytest.mark.long
def test_signals_and_losses(undisturbed):
    """The run is stopped by a signal to one worker, loses the other two ways, and ends with the same bits.

    Without the agreement on a stop, the worker without the signal waits in a collective for ever; without
    the watchdog so does the one whose peer is frozen.
    """
    name = "disturbed"
    workers = undisturbed.start_and_reach(name, 15)
    expect_one_port(undisturbed, workers[1])
    workers[1].send_signal(signal.SIGTERM)
    chief, other = [worker.finish(30) for worker in workers]
    assert (chief.code, other.code) == (42, 42), (chief, other)
    assert "SIGTERM at step" in other.error
    assert "a signal to another worker at step" in chief.error

    # So slow that it outlives the start of another job.
    workers = undisturbed.start_and_reach(name, 40, pause_seconds=3.0)
    expect_refusal_of_another_job(undisturbed, name)
    assert [worker.poll() for worker in workers] == [None, None]
    workers[1].kill()
    expect_loss_of_worker(1, workers[0])
    workers[1].finish()

    workers = undisturbed.start_and_reach(name, 60)
    workers[1].send_signal(signal.SIGSTOP)
    expect_loss_of_worker(1, workers[0])
    workers[1].kill()
    workers[1].finish()

    workers = undisturbed.start_and_reach(name, 75)
    workers[0].kill()
    expect_loss_of_worker(0, workers[1])
    workers[0].finish()

    codes = [worker.finish().code for worker in undisturbed.start(name, STREAMED)]
    assert codes == [0, 0]
    shas = [undisturbed.result(run)["weights_sha256"] for run in (name, "streamed")]
    assert shas[0] == shas[1]


@pytest.mark.long
def test_two_workers_end_early_at_one_step_though_each_measures_another_value(job):
    """Each has a rate of its own: did each decide by it, one would wait for the other for ever."""
    settings = [
        "train.callbacks = [@EarlyStopping(), @Checkpoints()]",
        "EarlyStopping.monitor = 'examples_per_second'",
        "EarlyStopping.mode = 'max'",
        "EarlyStopping.patience = 2",
        "EarlyStopping.restore_best_weights = True",
    ]
    workers = job.start("early", *(f"--gin_param={setting}" for setting in settings))
    chief, other = [worker.finish() for worker in workers]
    assert (chief.code, other.code) == (0, 0), (chief, other)
    result = job.result("early")
    assert result["ended_by"].startswith("EarlyStopping: examples_per_second has not improved in 2 ")
    assert result["step"] == result.get("restored_step", 0) + 10


def expect_refusal_of_another_job(job, name):
    """Where it writes before it holds the lock, the first job loses a worker that was "restarted"."""
    chief, other = job.start(name, STREAMED, "--gin_param=train.start_seconds = 3", pause_seconds=0.1)
    finished = chief.finish(60)
    assert finished.code == 4, finished
    assert "is in use by a live run" in message(finished)
    finished = other.finish(60)
    assert finished.code == 4, finished
    assert "did not start within 3 s" in message(finished)


def expect_one_port(job, worker):
    """A worker listens at its port in TF_CONFIG and nowhere else; SECURITY.md says on which interfaces."""
    address = json.loads(content(job.workdir("disturbed") / "workers" / "1.json"))["address"]
    ports = {int(found.rpartition(":")[2], 16) for found in listening_sockets(worker.pid)}
    assert ports == {int(address.rpartition(":")[2])}


def expect_loss_of_worker(index, survivor):
    """The survivor ends with code 4 within a minute, and names the worker and its address."""
    began = time.monotonic()
    finished = survivor.finish(60)
    assert finished.code == 4, finished
    assert re.search(rf"error: worker {index} \(127\.0\.0\.1:\d+\) ", message(finished)), finished
    assert "run the same command to resume" in finished.error
    assert time.monotonic() - began < 60


def test_a_worker_that_never_comes(job):
    (chief,) = job.start("never", "--gin_param=train.start_seconds = 2", indices=(0,))
    finished = chief.finish(60)
    assert finished.code == 4
    assert re.search(r"worker 1 \(127\.0\.0\.1:\d+\) did not start within 2 s", message(finished))


@pytest.mark.long
@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_that_is_lost_while_tensorflow_connects(job, lost):
    """Left to itself TensorFlow holds Python's lock while it waits, so that no watchdog sees the loss."""
    name = f"lost {lost} at the start"
    workers = job.start(name)
    survivor = workers[1 - lost]
    # The one that is lost has seen the other, which now meets it in any case.
    workers[lost].wait_until(lambda: has_seen(job, name, lost, 1 - lost))
    workers[lost].kill()
    workers[lost].finish()
    expect_loss_of_worker(lost, survivor)


def has_seen(job, name, index, other):
    """Whether a worker has written that it has seen the start of another."""
    written = content(job.workdir(name) / "workers" / f"{index}.json")
    return written and json.loads(written)["sees"][str(other)] is not None


@pytest.mark.long
def test_a_port_that_is_taken(job):
    """TensorFlow itself would wait for ever, in both processes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        addresses = (f"127.0.0.1:{_free_ports(1)[0]}", f"127.0.0.1:{server.getsockname()[1]}")
        workers = [
            Command(
                "launch.train",
                job.arguments("taken", "--gin_param=train.start_seconds = 8"),
                job.folder,
                {"TF_CONFIG": to_tf_config(Workers(addresses, index))},
            )
            for index in (0, 1)
        ]
        chief, other = [worker.finish(90) for worker in workers]
    assert other.code == 4, other
    assert addresses[1] in message(other), other
    assert chief.code == 4, chief
    assert "worker 1" in message(chief), chief


def test_a_malformed_tf_config(job):
    command = Command("launch.train", job.arguments("bad"), job.folder, {"TF_CONFIG": '{"cluster": '})
    finished = command.finish()
    assert finished.code == 2
    assert "TF_CONFIG is wrong: it is not JSON" in message(finished)
    assert not job.workdir("bad").exists()


@pytest.mark.long
def test_the_local_cluster_starts_a_job_again(undisturbed):
    """One worker is killed; the launcher starts both again, and the run ends with the same bits."""
    name = "restarted"
    command = [sys.executable, "-m", "launch.local_cluster", "--num_workers=2", "--max_restarts=1", "--"]
    paths = os.pathsep.join([str(REPOSITORY), str(FIXTURES)])
    environment = os.environ | {"PAUSE_SECONDS": "0.1", "PYTHONPATH": paths}
    launcher = subprocess.Popen(
        [*command, *undisturbed.arguments(name, STREAMED)],
        cwd=undisturbed.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with launcher:
        try:
            beat = undisturbed.workdir(name) / "workers" / "1.json"
            deadline = time.monotonic() + 300
            while '"step": 25,' not in content(undisturbed.workdir(name) / "metrics.jsonl"):
                assert launcher.poll() is None, launcher.communicate()
                assert time.monotonic() < deadline, "step 25 took longer than 300 s"
                time.sleep(0.05)
            pid = json.loads(beat.read_text())["pid"]
            subprocess.run(["kill", "-KILL", str(pid)], check=True)
            output, _ = launcher.communicate(timeout=300)
        finally:
            launcher.kill()
    assert launcher.returncode == 0, output
    assert "restart 1 of 1" in output
    shas = [undisturbed.result(run)["weights_sha256"] for run in (name, "streamed")]
    assert shas[0] == shas[1]
