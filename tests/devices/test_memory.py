"""The memory that is left is the least of the machine's and of what each control group allows."""

import pytest

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
