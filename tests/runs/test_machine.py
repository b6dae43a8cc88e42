"""The description of the machine."""

import os

import pytest

from vaeflow.runs import machine


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A stand-in that prints its arguments' last one as the name of a GPU."""
    path = tmp_path / "nvidia-smi"
    path.write_text("#!/bin/sh\nfor last; do :; done\nprintf 'H100\\n%s\\n' \"$last\"\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return path


def test_this_machine_has_cores_and_memory():
    found = machine.describe()
    assert list(found) == ["processor", "cores", "memory_gib", "gpus"]
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert 0.1 < found["memory_gib"] < 1e5


def test_gpus_have_their_names(monkeypatch, nvidia_smi):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.gpus() == ["H100", "--format=csv,noheader"]


def test_only_visible_gpus_count(monkeypatch, nvidia_smi):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, GPU-a")
    assert machine.gpus()[-1] == "--id=1,GPU-a"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_do_not_count(monkeypatch, nvidia_smi, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert machine.gpus() == []


def test_without_a_driver_there_are_none(monkeypatch, nvidia_smi):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia_smi.write_text("#!/bin/sh\nexit 9\n")
    assert machine.gpus() == []


def test_another_system_tells_less(monkeypatch):
    monkeypatch.setattr(machine, "_first_value", lambda path, key: None)
    assert machine.memory_gib() is None
