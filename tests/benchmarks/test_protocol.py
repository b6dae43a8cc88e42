"""The talk between the runner and a program, with a program that trains nothing."""

import ast
import dataclasses
import os
import sys
import time

import pytest

from benchmarks import measure
from benchmarks.lines import Line
from benchmarks.processes import REPOSITORY, Program, ProgramError
from vaeflow.devices import allocator

pytestmark = pytest.mark.processes

# Steps of 1 ms, each of 4 images; what it prints must disturb nobody.
TOY = """
import pathlib, sys, time
from benchmarks import protocol
folder = pathlib.Path(next(each[9:] for each in sys.argv if each.startswith("--folder=")))
state = folder / "state"
session = protocol.Session(parameters=7, resumed_at=int(state.exists()))
try:
    while True:
        time.sleep(0.001)
        print("noise from a library", flush=True)
        session.after_step(4)
except protocol.EndedError:
    state.write_text("saved")
"""
BROKEN = "import sys; print('first', file=sys.stderr); sys.exit('the net has no layers')"


@dataclasses.dataclass(frozen=True)
class ScriptLine(Line):
    """A line whose program is a text."""

    def command(self, python, workload, folder):
        return [python, "-c", self.module, *super().command(python, workload, folder)[3:]]


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


def settings(tmp_path):
    return measure.Settings(2, 0.02, sys.executable, sys.executable, tmp_path, lambda text: None)


@pytest.fixture
def toy_lines(monkeypatch):
    """Replaces the programs of the comparison, by name -> text."""

    def replace(**programs):
        made = [ScriptLine(name, text, resumes=True) for name, text in programs.items()]
        monkeypatch.setattr(measure.lines, "lines_of", lambda workload: made)
        product = ScriptLine("matrix product", BROKEN)
        monkeypatch.setattr(measure.lines, "MATRIX_PRODUCT_LINE", product)
        monkeypatch.setattr(measure, "_WARM_UP_SECONDS", 0.01)

    return replace


def test_a_workload_is_measured_although_a_program_breaks(toy_lines, tmp_path):
    toy_lines(good=TOY, broken=BROKEN)
    result = measure.measure("dense_128", settings(tmp_path))
    good, broken = result["lines"]
    assert result["parameters"] == 7
    assert result["matrix_product"] is None
    assert len(good["windows"]) == 2
    assert good["failure"] is None
    assert good["resume_seconds"] > 0
    assert broken["failure"] == "the net has no layers"
    assert broken["windows"] == []


def test_different_nets_are_not_compared(toy_lines, tmp_path):
    toy_lines(one=TOY, other=TOY.replace("parameters=7", "parameters=8"))
    with pytest.raises(measure.DifferentNetsError, match="must be equal, got one 7, other 8"):
        measure.measure("dense_128", settings(tmp_path))


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
