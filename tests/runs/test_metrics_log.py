"""The digest of the log that each checkpoint keeps: a chain over the lines as they are written."""

import hashlib
import json

import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Checkpoints, Evaluation
from vaeflow.runs import json_files, metrics_log
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.metrics_log import LogDigest
from vaeflow.runs.workdir import WorkDir


def chain(lines):
    """SHA-256 over the previous digest and the line, from 32 zero bytes, as the docstring defines it."""
    digest = bytes(32)
    for line in lines:
        digest = hashlib.sha256(digest + line).digest()
    return LogDigest(len(lines), digest.hex())


def file_lines(folder):
    return (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)


def store(folder):
    return CheckpointStore(folder / "checkpoints")


def test_the_digest_is_a_chain_over_the_lines_as_they_are_in_the_file(tmp_path):
    folder = WorkDir(tmp_path)
    assert folder.log_digest == chain([])
    for step in (5, 10, 15):
        folder.append_metrics({"step": step, "loss": step / 3, "broken": float("nan")})
        assert folder.log_digest == chain(file_lines(tmp_path))


def test_a_resumed_run_keeps_lines_byte_for_byte_and_goes_on_with_the_digest(tmp_path):
    folder = WorkDir(tmp_path)
    for step in (5, 10, 15):
        folder.append_metrics({"step": step, "loss": step / 3})
    two = chain(file_lines(tmp_path)[:2])
    kept = file_lines(tmp_path)[:2]
    resumed = WorkDir(tmp_path)
    resumed.start_metrics(10, two)
    assert (file_lines(tmp_path), resumed.log_digest) == (kept, two)
    resumed.append_metrics({"step": 15, "loss": 7.0})
    assert resumed.log_digest == chain(file_lines(tmp_path))


def test_a_line_that_was_edited_before_the_resumption_is_not_laundered(tmp_path):
    """A digest made anew of what the file holds by then would cover the edit."""
    folder = WorkDir(tmp_path)
    for step in (5, 10):
        folder.append_metrics({"step": step, "loss": 2.5})
    known = folder.log_digest
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace("2.5", "1.5", 1))
    folder.start_metrics(10, known)
    folder.append_metrics({"step": 15, "loss": 2.5})
    assert folder.log_digest != chain(file_lines(tmp_path))
    assert folder.log_digest.lines == 3


def test_lines_that_a_checkpoint_does_not_cover_yet_are_added_on_resumption(tmp_path):
    """A callback of the user's may save before the line of its step is written."""
    folder = WorkDir(tmp_path)
    folder.append_metrics({"step": 5})
    known = folder.log_digest
    folder.append_metrics({"step": 10})
    folder.start_metrics(10, known)
    assert folder.log_digest == chain(file_lines(tmp_path))
    folder.start_metrics(10, None)  # Of a checkpoint of an older version.
    assert folder.log_digest == chain(file_lines(tmp_path))


@pytest.mark.slow
def test_each_checkpoint_covers_the_lines_up_to_its_step(tmp_path):
    """In the middle of a loop, with an evaluation that saves before its line, and over a resumption."""
    settings = {"steps_per_loop": 4}
    with tiny_runs.untraced():
        with pytest.raises(KeyboardInterrupt):
            tiny_runs.train(
                tmp_path, **settings, callbacks=[Evaluation(10), tiny_runs.Break(16), Checkpoints(10, 9)]
            )
        tiny_runs.train(tmp_path, **settings, callbacks=[Evaluation(10), Checkpoints(10, 9)])
    lines = file_lines(tmp_path)
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == [4, 8, 10, 12, 16, 20]
    for step in (10, 20):
        covered = [line for line, of in zip(lines, steps, strict=True) if of <= step]
        assert store(tmp_path).record(step)["log"] == chain(covered)


@pytest.mark.slow
def test_a_checkpoint_before_the_line_of_its_step_covers_the_lines_before(tmp_path):
    class Lost(Evaluation):
        def measure(self, run):
            raise KeyboardInterrupt

    with tiny_runs.untraced(), pytest.raises(KeyboardInterrupt):
        tiny_runs.train(tmp_path, callbacks=[Lost(10), Checkpoints(10)])
    record = store(tmp_path).record(10)
    assert record["totals"].num_steps == 5
    assert record["log"] == chain(file_lines(tmp_path))
    assert record["log"].lines == 1


@pytest.mark.slow
def test_a_record_without_a_digest_is_of_an_older_version(tmp_path):
    with tiny_runs.untraced():
        tiny_runs.train(tmp_path, num_steps=5, callbacks=[Checkpoints(5)])
    path = store(tmp_path).path(5) / "record.json"
    record = json.loads(path.read_text())
    assert record.pop("log")["lines"] == 1
    path.write_text(json.dumps(record))
    assert store(tmp_path).record(5)["log"] is None


@pytest.mark.parametrize(
    "wrong", [7, {}, {"lines": 1}, {"lines": -1, "sha256": "0" * 64}, {"lines": 1, "sha256": "0"}]
)
def test_what_is_no_digest_is_refused(wrong):
    assert not metrics_log.RECORDED.accepts(wrong)
    with pytest.raises(json_files.MalformedError):
        json_files.check({"log": wrong}, {"log": metrics_log.RECORDED})
