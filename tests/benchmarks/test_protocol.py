"""The talk between the runner and a program, with a program that trains nothing."""

import ast
import os
import sys
import time

import pytest

from benchmarks import load
from benchmarks.lines import Line
from benchmarks.processes import REPOSITORY, Program, ProgramError
from tests.fixtures.toy_programs import BROKEN, TOY, ScriptLine
from vaeflow.devices import allocator

pytestmark = pytest.mark.processes


def start(tmp_path, program=TOY, **settings):
    return Program(ScriptLine("toy", program, **settings), sys.executable, "dense_128", tmp_path / "toy")


def test_a_program_trains_in_windows_and_sleeps_between(tmp_path):
    with start(tmp_path) as program:
        assert program.facts["parameters"] == 7
        assert program.start_seconds > 0
        first = program.run(0.05)
        time.sleep(0.2)
        second = program.run(0.05)
        for answer in (first, second):
            assert 0.05 <= answer["seconds"] < 0.2, "the sleep between the windows is in none of them"
            assert answer["steps"] > 0
            assert answer["images"] == 4 * answer["steps"]
            assert answer["peak_mebibytes"] > 1
            assert answer["others_cores"] >= 0
        program.end()


def test_it_saves_at_the_end_and_finds_it_again(tmp_path):
    with start(tmp_path) as program:
        assert program.facts["resumed_at"] == 0
        program.end()
    with start(tmp_path) as program:
        assert program.facts["resumed_at"] == 1


def test_a_program_ends_when_the_runner_is_gone(tmp_path):
    with start(tmp_path) as program:
        program._process.stdin.close()
        assert program._process.wait(20) == 0


def test_a_program_that_breaks_says_why(tmp_path):
    with pytest.raises(ProgramError, match=r"^the net has no layers$"):
        start(tmp_path, BROKEN)


def test_a_program_that_is_killed_between_windows_is_a_failure(tmp_path):
    with start(tmp_path) as program:
        os.kill(program._process.pid, 9)
        program._process.wait()
        with pytest.raises(ProgramError):
            program.run(0.01)


def test_without_a_compiler_the_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ProgramError, match="no C\\+\\+ compiler"):
        start(tmp_path, needs_compiler=True)


def test_the_allocator_is_tuned_only_where_asked():
    inherited = {"MALLOC_TOP_PAD_": "5", "GLIBC_TUNABLES": "glibc.malloc.top_pad=6", "HOME": "here"}
    default = Line("toy", "toy").environment(inherited)
    assert default["HOME"] == "here"
    assert not default.keys() & {"MALLOC_TOP_PAD_", "GLIBC_TUNABLES"}
    tuned = Line("toy", "toy", tuned_allocator=True).environment(inherited)
    assert tuned == allocator.tuned(default)
    assert Line("toy", "toy", tunes_itself=True).environment(inherited) == tuned


# Prints 100 MiB more than a toy, in a process of its own, and computes there.
HELPED = """
import multiprocessing
from benchmarks import protocol
def help(ready):
    held = bytearray(b"1" * (100 << 20))
    ready.set()
    while True:
        pass
if __name__ == "__main__":
    session = protocol.Session(parameters=7)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    helper = context.Process(target=help, args=(ready,), daemon=True)
    helper.start()
    ready.wait()
    session.helpers = [helper.pid]
    try:
        while True:
            session.after_step(1)
    except protocol.EndedError:
        helper.kill()
"""


def test_the_helpers_of_a_program_are_part_of_it(tmp_path):
    with start(tmp_path) as program:
        alone = program.run(0.05)["peak_mebibytes"]
    with start(tmp_path, HELPED) as program:
        answer = program.run(0.5)
        assert answer["peak_mebibytes"] > alone + 100
        used = load.cpu_seconds_of_session(program._process.pid)
        own = load.cpu_seconds_of_session(program._process.pid)
        while own < used + 0.2:
            own = load.cpu_seconds_of_session(
                program._process.pid
            )  # The program sleeps, its helper does not.
        program.end()


def test_a_session_without_processes():
    with pytest.raises(ProcessLookupError, match="no process belongs to the session 999999999"):
        load.cpu_seconds_of_session(999_999_999)


# Steps that go on in a library after the call that begins them.
AHEAD = """
import time
from benchmarks import protocol
session = protocol.Session(parameters=7)
try:
    while True:
        time.sleep(0.001)
        session.after_step(1, finish=lambda: time.sleep(0.3))
except protocol.EndedError:
    pass
"""


def test_a_window_lasts_until_its_steps_have_ended(tmp_path):
    with start(tmp_path, AHEAD) as program:
        assert program.start_seconds > 0.3
        assert 0.35 <= program.run(0.05)["seconds"] < 0.6


@pytest.mark.parametrize(
    "name", ["protocol.py", "workloads/__init__.py", "__init__.py", "programs/__init__.py"]
)
def test_what_the_peers_import_needs_the_standard_library_only(name):
    for node in ast.walk(ast.parse((REPOSITORY / "benchmarks" / name).read_text())):
        if isinstance(node, ast.Import):
            assert all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in sys.stdlib_module_names


def test_no_peer_knows_vaeflow():
    for path in (REPOSITORY / "benchmarks" / "programs").glob("*.py"):
        knows = "from vaeflow" in path.read_text() or "import vaeflow" in path.read_text()
        assert knows == (path.stem in ("vaeflow_trainer", "matrix_product")), path.name
