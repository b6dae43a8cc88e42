"""The allocator is tuned where there is glibc."""

import os
import subprocess
import sys

import pytest

from vaeflow.devices import allocator

pytestmark = pytest.mark.processes

# Prints how many pages were faulted in by buffers of 4 MiB that are freed and asked for again.
COUNT_FAULTS = """
import ctypes, os, resource, sys
from vaeflow.devices import allocator
if sys.argv[1] == "tuned":
    print(os.getpid(), flush=True)
    allocator.restart_tuned()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def use():
    buffers = [libc.malloc(4 << 20) for _ in range(16)]
    for buffer in buffers:
        libc.memset(buffer, 1, 4 << 20)
        libc.free(buffer)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, sys.argv[2:], os.getpid())
"""

# Runs a program with arguments that are not in its own command line.
RUN_ANOTHER = """
import os, runpy, sys
sys.argv = [os.environ["PROGRAM"], "tuned"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="There is no glibc.")


def run(*arguments, **variables):
    """Runs Python where nothing is tuned; returns the lines it printed."""
    inherited = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command, environment = [sys.executable, *arguments], inherited | variables
    finished = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return finished.stdout.splitlines()


@pytest.fixture
def count_faults(tmp_path):
    path = tmp_path / "count_faults.py"
    path.write_text(COUNT_FAULTS)
    return str(path)


@on_linux
def test_a_restarted_program_keeps_its_freed_buffers(count_faults):
    [faults] = run(count_faults, "as it is", "a", "b c")
    assert int(faults.split()[0]) > 10_000
    [first, again, faults] = run(count_faults, "tuned", "a", "b c")
    assert first == again  # The same process began twice.
    assert int(faults.split()[0]) < 100
    assert faults.endswith(f"['a', 'b c'] {first}")


@on_linux
def test_a_program_that_another_one_runs_is_not_restarted(count_faults):
    [_, faults] = run("-c", RUN_ANOTHER, PROGRAM=count_faults)
    assert int(faults.split()[0]) > 10_000


@on_linux
@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "embed", "encode", "export", "verify"])
def test_every_command_that_computes_is_tuned(command, tmp_path):
    # Python imports this module whenever it begins.
    (tmp_path / "sitecustomize.py").write_text("import os; print(os.environ.get('GLIBC_TUNABLES'))")
    [before, after, *text] = run("-m", f"launch.{command}", "--help", PYTHONPATH=str(tmp_path))
    assert before == "None"
    assert after == allocator.tuned({})["GLIBC_TUNABLES"]
    assert any("usage" in line or "--" in line for line in text)


def test_what_is_tuned_already_stays():
    theirs = "glibc.cpu.x86_shstk=off:glibc.malloc.hugetlb=0"
    environment = allocator.tuned({"GLIBC_TUNABLES": theirs, "HOME": "here"})
    assert environment["HOME"] == "here"
    tunables = environment["GLIBC_TUNABLES"].split(":")
    assert set(theirs.split(":")) < set(tunables)
    assert "glibc.malloc.hugetlb=1" not in tunables
    assert "glibc.malloc.top_pad=268435456" in tunables
    assert allocator.tuned(environment) == environment


def test_elsewhere_nothing_is_restarted(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(allocator, "_runs_by_itself", lambda: True)
    monkeypatch.setattr(os, "execve", lambda *arguments: pytest.fail("restarted"))
    allocator.restart_tuned()


@on_linux
def test_a_program_that_cannot_be_begun_again_goes_on(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(allocator, "_runs_by_itself", lambda: True)
    monkeypatch.setattr(sys, "executable", os.devnull)
    allocator.restart_tuned()
