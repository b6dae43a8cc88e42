"""What `benchmarks.measure` makes of programs, with some that train nothing."""

import sys

import pytest

from benchmarks import measure
from benchmarks.processes import Program, ProgramError
from tests.fixtures.toy_programs import BROKEN, TOY, ScriptLine

pytestmark = pytest.mark.processes


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Measures programs, name -> text, the first as vaeflow; returns the results and the progress."""

    def measured(done=(), **programs):
        made = [ScriptLine(name, text, resumes=name == "resuming") for name, text in programs.items()]
        monkeypatch.setattr(measure.lines, "lines_of", lambda workload, everything: made)
        monkeypatch.setattr(measure, "_WARM_UP_SECONDS", 0.01)
        settings = measure.Settings(2, 0.02, sys.executable, sys.executable, tmp_path, logged.append)
        measure.measure("dense_128", settings, {(name, False) for name in done}, kept.append)
        return {result["name"]: result for result in kept}

    kept, logged = [], []
    measured.logged = logged
    measured.kept = kept
    return measured


def test_programs_take_turns_with_vaeflow_and_a_failure_ends_one_only(measured):
    results = measured(vaeflow=TOY, broken=BROKEN, resuming=TOY)
    assert list(results) == ["vaeflow", "broken", "resuming"]
    for name, num_beside in (("vaeflow", 0), ("resuming", 2)):
        assert results[name]["failure"] is None
        assert results[name]["parameters"] == 7
        assert results[name]["start_seconds"] > 0
        assert len(results[name]["windows"]) == 2
        assert len(results[name]["beside"]) == num_beside
        assert results[name]["peak_mebibytes"] > 1
    assert results["resuming"]["resume_seconds"] > 0
    assert results["vaeflow"]["resume_seconds"] is None
    assert results["broken"]["failure"] == "the net has no layers"
    assert results["broken"]["windows"] == []


def test_what_is_done_is_not_measured_again(measured):
    assert list(measured(("vaeflow", "first"), vaeflow=TOY, first=BROKEN, second=TOY)) == ["second"]
    (second,) = measured.kept
    assert len(second["beside"]) == 2, "vaeflow is started for it"


def test_nothing_is_started_when_all_is_done(measured):
    assert measured(("vaeflow", "first"), vaeflow=BROKEN, first=BROKEN) == {}
    assert measured.logged == []


def test_a_result_is_kept_before_the_next_program_starts(measured, monkeypatch):
    before = []
    started = Program.__init__

    def start(self, line, *others):
        before.append((line.name, len(measured.kept)))
        started(self, line, *others)

    monkeypatch.setattr(Program, "__init__", start)
    measured(vaeflow=TOY, first=TOY, second=TOY)
    assert before == [("vaeflow", 0), ("vaeflow", 1), ("first", 1), ("second", 2)]


def test_without_vaeflow_there_is_nothing_to_compare_with(measured):
    assert list(measured(vaeflow=BROKEN, first=TOY)) == ["vaeflow"]
    assert measured.logged[-1] == "dense_128: there is nothing to compare with"


def test_vaeflow_that_fails_beside_a_program_is_named(measured, monkeypatch):
    def run(self, seconds):
        if self.line.name == "vaeflow" and measured.kept and seconds == 0.02:
            raise ProgramError("it broke")
        return ran(self, seconds)

    ran = Program.run
    monkeypatch.setattr(Program, "run", run)
    assert measured(vaeflow=TOY, first=TOY)["first"]["failure"] == "vaeflow failed beside it: it broke"


def test_a_resume_that_fails_leaves_the_measurements(measured):
    forgetful = TOY.replace("int(state.exists())", "0")
    (result,) = measured(resuming=forgetful).values()
    assert result["failure"] is None
    assert len(result["windows"]) == 2
    assert result["resume_failure"] == "it started from the beginning instead of resuming"


def test_different_nets_are_not_compared(measured):
    with pytest.raises(measure.DifferentNetsError, match="must be equal, got vaeflow 7, other 8"):
        measured(vaeflow=TOY, first=TOY, other=TOY.replace("parameters=7", "parameters=8"))
    assert [result["name"] for result in measured.kept] == ["vaeflow", "first"]
