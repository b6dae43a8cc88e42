"""Studies on a Ray cluster: of two machines, both of them this one."""

import contextlib
import json
import os
import pathlib
import re
import signal
import sys

import numpy as np
import pytest

from tests.fixtures import ray_clusters, tiny_runs
from tests.fixtures.commands import Command
from vaeflow.commands.studies import ray_task
from vaeflow.commands.studies.on_ray import OnRay
from vaeflow.errors import ConfigurationError
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.signals import StopRequest

GIN = """
study.grid = {'VAE.num_latents': (2, -1)}
study.place = @OnRay()
study.cores_each = 1
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 200
train.batch_size = 8
train.steps_per_loop = 10
train.callbacks = [@Evaluation(), @Checkpoints(), @Pause()]
Arrays.train = 'images.npy'
VAE.num_latents = 3
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
Evaluation.every_steps = 100
Checkpoints.every_steps = 40
"""


class RayStudy:
    """A study of two runs: one trains, the other has a bad setting."""

    def __init__(self, folder, address):
        self.folder = folder
        self.address = address
        np.save(folder / "images.npy", tiny_runs.images(60))
        (folder / "study.gin").write_text(GIN)

    def start(self):
        """Starts `launch.study`; returns a `Command`."""
        flags = ["--gin_file=study.gin", "--workdir=study", "--plugin=pause_plugin"]
        environment = ray_clusters.ENVIRONMENT | {"RAY_ADDRESS": self.address}
        return Command("launch.study", flags, self.folder, environment)

    @property
    def good(self):
        """The work folder of the run that trains."""
        return self.folder / "study" / "runs" / "000_VAE.num_latents=2_seed=0"

    def last_step(self):
        """The last step that it has logged."""
        path = self.good / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return max((json.loads(line)["step"] for line in lines if line.endswith("\n")), default=0)

    def worker(self):
        """Ray's process that has started the training."""
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes().split(b"\0")
                if b"train" in words and any(self.good.name.encode() in word for word in words):
                    return int((path / "stat").read_text().rpartition(")")[2].split()[1])
        raise AssertionError("nothing trains")


@pytest.mark.roulette
@pytest.mark.slow
@pytest.mark.processes
def test_a_study_is_stopped_and_loses_a_worker_and_ends_as_if_undisturbed(tmp_path):
    with ray_clusters.running(PAUSE_SECONDS="0.15") as address:
        study = RayStudy(tmp_path, address)
        command = study.start()
        command.wait_until(lambda: study.last_step() >= 20, ray_clusters.PATIENCE)
        command.send_signal(signal.SIGTERM)
        stopped = command.finish(ray_clusters.PATIENCE)
        assert stopped.code == 42, stopped
        at = CheckpointStore(study.good / "checkpoints").steps()[-1]
        assert 20 <= at < 200
        assert f"SIGTERM at step {at}" in stopped.out

        command = study.start()
        command.wait_until(lambda: study.last_step() >= at + 50, ray_clusters.PATIENCE)
        os.kill(study.worker(), signal.SIGKILL)
        ended = command.finish(ray_clusters.PATIENCE)
        assert ended.code == 2, ended
        assert "001_VAE.num_latents=-1_seed=0 failed with code 2" in ended.out
        assert "1 of 2 runs are done" in ended.out
        assert json.loads((study.good / "result.json").read_text())["step"] == 200
        resumed = json.loads((study.good / "environment.json").read_text())["resumed"]
        assert int(resumed.removeprefix("at step ")) > at
        assert not list((tmp_path / "study" / "logs").glob(".ray-*"))


def carry_out(place):
    return list(place.carry_out(iter(()), 1, StopRequest(), lambda jobs: ()))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "a..b:1", f"{'a' * 64}:1"])
def test_no_cluster_answers(address):
    """Python encodes a host's name before it looks it up, which has errors of its own."""
    message = rf"`OnRay.address` = '{re.escape(address)}': there is no Ray cluster"
    with pytest.raises(ConfigurationError, match=message):
        carry_out(OnRay(address))


def test_the_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:2")
    with pytest.raises(ConfigurationError, match=r"'127.0.0.1:2': .* or use `study.place = @Here"):
        carry_out(OnRay())


def test_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "vaeflow.clusters.ray_connection", raising=False)
    monkeypatch.delattr("vaeflow.clusters.ray_connection", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'vaeflow\[ray\]'"):
        carry_out(OnRay())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"address": "local"}, "OnRay.address.*use `study.place = @Here"),
        ({"address": 3}, "OnRay.address"),
        ({"gpus_each": -1}, "OnRay.gpus_each"),
        ({"most_at_once": 0}, "OnRay.most_at_once"),
        ({"max_retries": -1}, "OnRay.max_retries"),
    ],
)
def test_wrong_settings_are_refused(settings, expected):
    with pytest.raises(ValueError, match=expected):
        OnRay(**settings)


@pytest.mark.parametrize("missing", ["the current folder", "the study's folder"])
def test_a_machine_that_does_not_share_the_folders_is_named(tmp_path, missing):
    folder = tmp_path / "nowhere" if missing == "the current folder" else tmp_path
    with pytest.raises(ConfigurationError, match=f"{missing} .* is not there on .*share"):
        ray_task.carry_out(None, str(folder), str(tmp_path / ".ray-0"), None)


def test_runs_on_one_machine_take_different_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {501, 502, 503})
    with contextlib.ExitStack() as one, contextlib.ExitStack() as other:
        assert ray_task._take_cores(2, one) == [501, 502]
        assert ray_task._take_cores(2, other) is None
        assert ray_task._take_cores(1, other) == [503]
        assert ray_task._take_cores(1, other) is None
        one.close()
        assert ray_task._take_cores(2, other) == [501, 502]
    assert ray_task._take_cores(None, contextlib.ExitStack()) is None
