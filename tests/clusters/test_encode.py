"""Two workers that encode a data set: the same files as one, and what happens when one is lost."""

import pytest

from tests.fixtures import trained_runs
from tests.fixtures.commands import Command, message
from vaeflow.clusters.local import _free_ports
from vaeflow.devices.workers import Workers, to_tf_config

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

SETTINGS = ["encode.examples_per_shard = 1", "encode.latents = 'sample'", "train.peer_seconds = 4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained_runs.trained_folder(tmp_path_factory.mktemp("run"), "Arrays.labels_key = 'labels'")


def start(folder, encoded, environment=None, settings=SETTINGS):
    arguments = [f"--workdir={folder}", f"--encoded={encoded}", f"--plugin={trained_runs.PLUGIN}"]
    arguments += [f"--gin_param={setting}" for setting in settings]
    return Command("launch.encode", arguments, folder.parent, environment)


def start_two(folder, encoded, settings=SETTINGS):
    addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(2))
    return [
        start(folder, encoded, {"TF_CONFIG": to_tf_config(Workers(addresses, index))}, settings)
        for index in range(2)
    ]


def contents(encoded):
    """The bytes of every file but the lock and the heartbeats."""
    return {
        str(path.relative_to(encoded)): path.read_bytes()
        for path in encoded.rglob("*")
        if path.is_file() and path.name != ".lock" and path.parent.name != "workers"
    }


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """What one process writes."""
    encoded = tmp_path_factory.mktemp("alone") / "encoded"
    finished = start(folder, encoded).finish()
    assert finished.code == 0, finished
    return contents(encoded)


def test_two_workers_write_what_one_process_does(folder, tmp_path, alone):
    chief, other = (command.finish() for command in start_two(folder, tmp_path))
    assert (chief.code, other.code) == (0, 0), (chief, other)
    assert contents(tmp_path) == alone
    assert "40 examples in 40 shards" in chief.out
    assert other.out == ""


def test_a_lost_worker_ends_the_chief_and_one_process_goes_on(folder, tmp_path, alone):
    chief, other = start_two(folder, tmp_path)
    other.wait_until(lambda: (tmp_path / "workers/1.json").exists())
    other.kill()
    other.finish()
    ended = chief.finish()
    assert ended.code == 4, ended
    assert "worker 1" in message(ended)
    assert not (tmp_path / "manifest.json").exists()
    assert start(folder, tmp_path).finish().code == 0
    assert contents(tmp_path) == alone


def test_workers_with_other_settings_are_refused(folder, tmp_path):
    settings = ["encode.seed = 1", *SETTINGS]
    assert start(folder, tmp_path, settings=settings).finish().code == 0
    for command in start_two(folder, tmp_path):
        assert command.finish().code == 2
