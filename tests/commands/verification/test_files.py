"""The files of a run against one another: an honest run passes, and each edit by hand is found."""

import json

import numpy as np
import pytest

from tests.fixtures.recorded_runs import edit, edit_log, recorded_folder
from vaeflow.commands.verification import files
from vaeflow.commands.verification.checks import DIFFERENT, NOT_VERIFIED, VERIFIED
from vaeflow.commands.verification.recorded import Placement, Recorded
from vaeflow.runs.digest import arrays_sha256
from vaeflow.runs.workdir import WorkDir

DIGESTS = {10: "b" * 64, 20: "a" * 64}


@pytest.fixture
def folder(tmp_path):
    return recorded_folder(tmp_path / "run")


def record_of(folder, step):
    return folder / "checkpoints" / f"step-{step:08d}" / "record.json"


def checked_log(folder):
    """The verdict of each checkpoint's digest of the log, and the steps of the lines it covers."""
    recorded = Recorded(folder)
    checks, covered = files.check_log(recorded, recorded.store.steps())
    return [check.verdict for check in checks], covered, checks


def test_an_honest_run_passes(folder):
    recorded = Recorded(folder)
    steps = recorded.store.steps()
    log_checks, covered = files.check_log(recorded, steps)
    checks = [
        *files.check_readable(recorded),
        *files.check_checkpoints(recorded, steps),
        *log_checks,
        *files.check_result(recorded, DIGESTS),
        *files.check_uncovered(recorded, covered),
    ]
    assert {check.verdict for check in checks} == {VERIFIED}
    assert len(checks) == 8
    assert covered == {5, 10, 15, 20}


def test_a_run_that_ended_with_the_weights_of_an_earlier_step_passes(folder):
    earlier = WorkDir(folder, writable=False).read_metrics()[1]
    restored = {"restored_step": 10, "ended_by": "EarlyStopping: …", "weights_sha256": DIGESTS[10]}
    edit(folder / "result.json", **restored, **{"train/loss": earlier["train/loss"]})
    checks = list(files.check_result(Recorded(folder), DIGESTS))
    assert [check.verdict for check in checks] == [DIFFERENT, VERIFIED]  # The rate is that of step 20.
    edit(folder / "result.json", examples_per_second=earlier["examples_per_second"])
    checks = list(files.check_result(Recorded(folder), DIGESTS))
    assert [check.verdict for check in checks] == [VERIFIED, VERIFIED]
    assert checks[0].remark == "the newest of each in the log at step 10"
    assert checks[1].remark == "that of the checkpoint of step 10"


def test_the_weights_that_a_run_started_from_are_compared_or_missed(folder, tmp_path):
    def verdicts(named):
        return [check.verdict for check in files.check_initial_weights(Recorded(folder), named)]

    def started_from(sha256):
        start = {"run": "first", "step": 20, "weights_sha256": sha256, "averaged": False}
        lists = {"taken": ["a"], "left": [], "missing": []}
        edit(folder / "environment.json", initial_weights=start | lists)

    first = recorded_folder(tmp_path / "first")  # Its one weight is [20].
    started_from(arrays_sha256([np.float32([20])]))
    assert verdicts(str(first)) == [VERIFIED]
    started_from("c" * 64)
    assert verdicts(str(first)) == [DIFFERENT]
    assert verdicts(str(tmp_path / "gone")) == [NOT_VERIFIED]
    assert verdicts(None) == []


def test_an_edit_of_a_covered_line_is_found_by_the_digest_and_narrowed_down(folder):
    edit_log(folder, 15, '"wall_seconds": 2.1', '"wall_seconds": 2.0')
    verdicts, covered, checks = checked_log(folder)
    assert verdicts == [VERIFIED, DIFFERENT]
    assert covered == {5, 10}
    assert "the 2 lines of the steps 15 to 20" in checks[1].remark


@pytest.mark.parametrize("change", ["removed", "added", "spaced", "damaged"])
def test_a_log_of_other_lines_is_found(folder, change):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    changed = {
        "removed": lines[1:],
        "added": [lines[0], lines[0].replace("5", "6"), *lines[1:]],
        "spaced": [lines[0].replace(": ", ":  "), *lines[1:]],
        "damaged": ["{\n", *lines[1:]],
    }
    path.write_text("".join(changed[change]))
    assert DIFFERENT in checked_log(folder)[0]


def test_a_log_that_lost_its_end_is_said_to_be_shorter(folder):
    path = folder / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    verdicts, _, checks = checked_log(folder)
    assert verdicts == [VERIFIED, DIFFERENT]
    assert "4 lines were written, and 3 readable ones are there" in checks[1].remark


def test_lines_after_the_last_digest_are_not_verified_unless_they_are_repeated(folder):
    with (folder / "metrics.jsonl").open("a") as log:
        log.writelines(f'{{"step": {step}, "train/loss": 1.0}}\n' for step in (25, 30, 35))
    covered = checked_log(folder)[1]
    (check,) = files.check_uncovered(Recorded(folder), covered)
    assert (check.verdict, check.subject) == (NOT_VERIFIED, "the 3 lines of the steps 25 to 35")
    subjects = [check.subject for check in files.check_uncovered(Recorded(folder), covered | {30})]
    assert subjects == ["the line of step 25", "the line of step 35"]


def test_checkpoints_of_an_older_version_cover_no_line(folder):
    for step in (10, 20):
        edit(record_of(folder, step), log=None)
    verdicts, covered, _ = checked_log(folder)
    assert (verdicts, covered) == ([NOT_VERIFIED, NOT_VERIFIED], set())


def test_a_digest_that_was_edited_in_the_record_is_found(folder):
    edit(record_of(folder, 20), log={"lines": 4, "sha256": "c" * 64})
    assert checked_log(folder)[0] == [VERIFIED, DIFFERENT]


def test_metrics_that_were_edited_in_the_record_are_found(folder):
    content = json.loads(record_of(folder, 10).read_text())
    edit(record_of(folder, 10), metrics=content["metrics"] | {"train/loss": 1.5})
    checks = list(files.check_checkpoints(Recorded(folder), [10]))
    assert [check.verdict for check in checks] == [VERIFIED, DIFFERENT]
    assert "train/loss recorded as 1.5, found 43.33" in checks[1].remark


def test_the_metrics_of_a_loop_that_was_cut_short_are_those_of_its_totals(folder):
    totals = {"num_steps": 2, "seconds": 1.0, "input_seconds": 0.0, "sums": {"loss": 7.0}}
    edit(record_of(folder, 10), totals=totals, metrics={"train/loss": 3.5})
    assert [check.verdict for check in files.check_checkpoints(Recorded(folder), [10])] == [VERIFIED] * 2
    edit(record_of(folder, 10), totals=totals, metrics={"train/loss": 3.25})
    assert [check.verdict for check in files.check_checkpoints(Recorded(folder), [10])][1] == DIFFERENT


def test_a_checkpoint_whose_files_changed_is_found(folder):
    data = record_of(folder, 20).with_name("variables.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1] + b"\x7f")
    (check,) = files.check_checkpoints(Recorded(folder), [20])
    assert check.verdict == DIFFERENT
    assert "differs from what was written" in check.remark


@pytest.mark.parametrize(
    ("name", "value"), [("train/loss", 1.5), ("step", 15), ("wall_seconds", None), ("more", 1.0)]
)
def test_a_metric_that_was_edited_in_the_result_is_found(folder, name, value):
    edit(folder / "result.json", **{name: value})
    checks = list(files.check_result(Recorded(folder), DIGESTS | {15: "a" * 64}))
    assert [check.verdict for check in checks] == [DIFFERENT, VERIFIED]


def test_a_digest_that_was_edited_in_the_result_is_found(folder):
    edit(folder / "result.json", weights_sha256="d" * 64)
    assert [check.verdict for check in files.check_result(Recorded(folder), DIGESTS)] == [VERIFIED, DIFFERENT]


def test_without_its_checkpoint_the_digest_of_the_result_is_not_verified(folder):
    verdicts = [check.verdict for check in files.check_result(Recorded(folder), {10: "b" * 64})]
    assert verdicts == [VERIFIED, NOT_VERIFIED]


def test_a_run_that_is_not_finished_has_no_result_yet(folder):
    (folder / "result.json").unlink()
    (check,) = files.check_result(Recorded(folder), DIGESTS)
    assert (check.verdict, check.remark) == (NOT_VERIFIED, "the run is not finished: there is none")


@pytest.mark.parametrize("name", ["result.json", "environment.json", "data.json"])
def test_a_file_that_no_run_writes_is_found(folder, name):
    (folder / name).write_text('{"step": NaN}')
    (check,) = files.check_readable(Recorded(folder))
    assert (check.subject, check.verdict) == (name, DIFFERENT)


def test_plugins_that_are_no_list_are_found(folder):
    """Their digests would be asked for, in a traceback."""
    edit(folder / "environment.json", plugins=5)
    (check,) = files.check_readable(Recorded(folder))
    assert "its 'plugins' must be a list of texts, got 5" in check.remark


def test_data_is_compared_by_its_fingerprints(folder):
    recorded = Recorded(folder)
    assert files.check_data(recorded, recorded.data).verdict == VERIFIED
    found = files.check_data(recorded, {"train": "40 images of 8 x 8 x 1, uint8, content 01"})
    assert found.verdict == DIFFERENT
    assert files.check_data(recorded, {**recorded.data, "validation": "7 images"}).verdict == DIFFERENT
    (folder / "data.json").unlink()
    assert files.check_data(Recorded(folder), {}).verdict == NOT_VERIFIED


def test_where_a_run_was_placed(folder):
    assert Recorded(folder).placement == Placement(1, "CPU", 1)
    edit(folder / "environment.json", placement={"replicas": 4, "kind": "GPU", "workers": 2})
    assert Recorded(folder).placement == Placement(4, "GPU", 2)
    edit(folder / "environment.json", placement=None)  # As older versions wrote it.
    edit(folder / "result.json", num_replicas=3)
    assert Recorded(folder).placement == Placement(3, None, 1)
