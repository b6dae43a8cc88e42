"""When callbacks act, and that loops end there; `Evaluation` as the plainest of them."""

import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Checkpoints, Evaluation, Images, Summaries


class Record(Callback):
    """Records what it is called with, and when."""

    def __init__(self, every_steps=None):
        super().__init__(every_steps)
        self.calls = []
        self.metrics = {}

    def on_train_begin(self, run):
        self.calls.append(("begin", run.step))

    def measure(self, run):
        self.calls.append(("measure", run.step))
        return {f"record/{self.every_steps}": float(run.step)}

    def on_log(self, run, metrics):
        self.calls.append(("log", run.step))
        self.metrics[run.step] = metrics

    def on_train_end(self, run):
        self.calls.append(("end", run.step))

    @property
    def steps(self):
        return [step for name, step in self.calls if name == "log"]


@pytest.mark.slow
def test_loops_are_cut_at_every_cadence(tmp_path):
    seven, nine, each = Record(7), Record(9), Record()
    tiny_runs.train(tmp_path, num_steps=25, steps_per_loop=10, callbacks=[seven, nine, each])
    assert seven.steps == [7, 14, 21, 25]
    assert nine.steps == [9, 18, 25]
    assert each.steps == [7, 9, 10, 14, 18, 20, 21, 25]
    assert [line["step"] for line in tiny_runs.metrics_lines(tmp_path)] == each.steps


@pytest.mark.long
def test_cadences_count_from_the_first_step_of_the_run_after_a_resumption(tmp_path):
    tiny_runs.train(tmp_path, num_steps=12, callbacks=[Checkpoints(5)])
    record = Record(5)
    tiny_runs.train(tmp_path, num_steps=21, callbacks=[record], steps_per_loop=100)
    assert record.calls[0] == ("begin", 12)
    assert record.calls[-1] == ("end", 21)
    assert record.steps == [15, 20, 21]


@pytest.mark.slow
def test_everyone_measures_before_anyone_is_told(tmp_path):
    first, second = Record(10), Record(5)
    tiny_runs.train(tmp_path, num_steps=10, steps_per_loop=10, callbacks=[first, second])
    at_steps = [("measure", 5), ("log", 5), ("measure", 10), ("log", 10)]
    assert second.calls == [("begin", 0), *at_steps, ("end", 10)]
    assert first.metrics[10] == second.metrics[10]
    assert first.metrics[10]["record/5"] == first.metrics[10]["record/10"] == 10.0
    assert "record/10" not in second.metrics[5]
    # What was measured is logged.
    assert tiny_runs.metrics_lines(tmp_path)[-1]["record/10"] == 10.0


@pytest.mark.slow
def test_evaluation_adds_its_metrics_when_due(tmp_path):
    result = tiny_runs.train(tmp_path, num_steps=12, callbacks=[Evaluation(5)])
    lines = {line["step"]: line for line in tiny_runs.metrics_lines(tmp_path)}
    assert [step for step, line in lines.items() if "evaluation/negative_elbo" in line] == [5, 10, 12]
    values = [lines[step]["evaluation/negative_elbo"] for step in (5, 10, 12)]
    assert values[0] > values[1] > values[2]
    assert result["evaluation/negative_elbo"] == values[2]
    assert {"evaluation/kl", "evaluation/active_units", "evaluation/kl_per_dimension/01"} <= lines[12].keys()


@pytest.mark.long
def test_evaluation_takes_the_averaged_weights_and_gives_the_others_back(tmp_path):
    class Compare(Callback):
        def measure(self, run):
            return {"own": run.evaluator.evaluate()["negative_elbo"]}

    settings = {"num_steps": 10, "callbacks": [Evaluation(10), Compare()]}
    plain = tiny_runs.train(tmp_path / "plain", **settings)
    assert plain["own"] == plain["evaluation/negative_elbo"]
    averaged = tiny_runs.train(tmp_path / "averaged", **settings, ema_decay=0.99)
    assert averaged["own"] == plain["own"]
    # The average lags behind.
    assert averaged["evaluation/negative_elbo"] > averaged["own"]
    assert averaged["weights_sha256"] == plain["weights_sha256"]


@pytest.mark.parametrize("callback", [Checkpoints, Evaluation, Images, Summaries])
@pytest.mark.parametrize("every_steps", [0, -1, 1.5, True, "5"])
def test_a_bad_cadence_is_refused(callback, every_steps):
    with pytest.raises(ValueError, match=f"`{callback.__name__}.every_steps` must be a positive integer"):
        callback(every_steps=every_steps)
