"""The callback that saves: when, how many, and the best."""

import json

import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Checkpoints


class Score(Callback):
    """Measures given values."""

    def __init__(self, values, name="score"):
        super().__init__()
        self.values = values
        self.name = name

    def measure(self, run):
        return {self.name: self.values[run.step]} if run.step in self.values else {}


def steps(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in (folder / "checkpoints").iterdir())


def test_it_saves_when_due_and_at_the_end(tmp_path):
    tiny_runs.train(tmp_path, num_steps=17, callbacks=[Checkpoints(5, keep=10)])
    assert steps(tmp_path) == [5, 10, 15, 17]
    record = json.loads((tmp_path / "checkpoints" / "step-00000010" / "record.json").read_text())
    assert record["step"] == 10
    line = tiny_runs.metrics_lines(tmp_path)[1]
    assert record["metrics"]["train/loss"] == line["train/loss"]


def test_it_keeps_the_newest_and_the_best(tmp_path):
    scores = Score({5: 3.0, 10: 1.0, 15: 2.0, 20: 4.0})
    tiny_runs.train(tmp_path, num_steps=30, callbacks=[scores, Checkpoints(5, keep=2, best_metric="score")])
    assert steps(tmp_path) == [10, 25, 30]


@pytest.mark.parametrize(
    ("best_metric", "advice"),
    [
        ("score/a", None),
        ("score/b", "unlike score/a"),
        ("scroe/a", "unlike score/a"),
        ("evaluation/negative_elbo", None),
    ],
)
def test_a_metric_that_nothing_measures_is_told_once(tmp_path, caplog, best_metric, advice):
    scores = Score({5: 3.0}, name="score/a")
    tiny_runs.train(tmp_path, num_steps=15, callbacks=[scores, Checkpoints(5, best_metric=best_metric)])
    found = [record.getMessage() for record in caplog.records if "best_metric" in record.getMessage()]
    assert len(found) == (advice is not None)
    if advice is not None:
        assert repr(best_metric) in found[0]
        assert found[0].endswith(advice)


def test_what_a_killed_run_left_is_removed_though_no_step_is_left(tmp_path):
    """Where only a later save removed it, it would stay."""
    tiny_runs.train(tmp_path, callbacks=[Checkpoints(5)])
    (tmp_path / "result.json").unlink()
    left = tmp_path / "checkpoints" / ".unfinished-removal-step-00000005-0123456789abcdef"
    left.mkdir()
    (left / "variables.index").touch()
    tiny_runs.train(tmp_path, callbacks=[Checkpoints(5)])
    assert not left.exists()
    assert (tmp_path / "result.json").exists()


def test_without_it_nothing_is_saved(tmp_path):
    tiny_runs.train(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("keep", [0, -1, 2.5, None])
def test_keep_is_checked(keep):
    with pytest.raises(ValueError, match=r"`Checkpoints.keep` must be a positive integer"):
        Checkpoints(keep=keep)
