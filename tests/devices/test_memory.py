"""The memory that is left: the least of the machine's and of what each control group allows; that of GPUs."""

import ctypes
import types

import pytest
import tensorflow as tf

from vaeflow.devices import memory

GIB = 2**30


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 GiB left, whose control groups a test writes."""
    write(tmp_path / "meminfo", f"MemTotal: 1 kB\nMemAvailable:   {8 * 2**20} kB\n")
    for name, place in (("_MEMINFO", "meminfo"), ("_OWN_GROUP", "own"), ("_GROUPS", "groups")):
        monkeypatch.setattr(memory, name, tmp_path / place)
    return tmp_path


def test_of_a_machine_without_groups(machine):
    assert memory.available_bytes() == 8 * GIB


def test_of_the_tightest_group_around_the_process(machine):
    write(machine / "own", "0::/outer/inner\n")
    for group, limit in (("outer", 3 * GIB), ("outer/inner", 6 * GIB)):
        write(machine / "groups" / group / "memory.max", f"{limit}\n")
        write(machine / "groups" / group / "memory.current", f"{2 * GIB}\n")
        write(machine / "groups" / group / "memory.stat", f"anon 5\ninactive_file {GIB}\n")
    assert memory.available_bytes() == 2 * GIB


def test_of_a_group_of_the_first_version(machine):
    write(machine / "own", "5:cpu:/x\n4:memory,pids:/job\n")
    write(machine / "groups/memory/job/memory.limit_in_bytes", f"{4 * GIB}\n")
    write(machine / "groups/memory/job/memory.usage_in_bytes", f"{GIB}\n")
    assert memory.available_bytes() == 3 * GIB


def test_a_group_without_a_limit_takes_nothing(machine):
    write(machine / "own", "0::/\n")
    write(machine / "groups/memory.max", "max\n")
    write(machine / "groups/memory.current", f"{GIB}\n")
    assert memory.available_bytes() == 8 * GIB


def driver_of(*sizes):
    """A stand-in for NVIDIA's driver, with GPUs of these bytes."""

    def store(value):
        return lambda pointer, *rest: setattr(pointer._obj, "value", value(*rest)) or 0

    return types.SimpleNamespace(
        cuInit=lambda flags: 0,
        cuDeviceGetCount=store(lambda: len(sizes)),
        cuDeviceGet=store(lambda number: number),
        cuDeviceTotalMem_v2=store(lambda device: sizes[device.value]),
    )


@pytest.mark.parametrize(
    ("sizes", "expected"), [((80 * GIB, 40 * GIB), 9 * GIB), ((), GIB), ((2 * GIB, GIB), 0)]
)
def test_data_may_take_a_quarter_of_the_smallest_gpu(monkeypatch, sizes, expected):
    """Four GiB are in use already; without a GPU that the driver knows, it is 1 GiB."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["a", "b"] if kind == "GPU" else [])
    monkeypatch.setattr(
        tf.config.experimental, "get_memory_info", lambda name: {"current": 4 * GIB if name == "GPU:1" else 0}
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver_of(*sizes))
    assert memory.room_for_data(2) == expected


def test_replicas_on_cpus_share_the_memory_of_the_machine(machine):
    assert memory.room_for_data(1) == 2 * GIB
    assert memory.room_for_data(4) == GIB // 2


def test_without_a_driver_nothing_is_known(monkeypatch):
    def missing(name):
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert memory._least_memory_of_gpus() is None
