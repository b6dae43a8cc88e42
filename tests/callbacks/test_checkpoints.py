"""The callback that saves: when, how many, and the best."""

import json

import pytest

from tests.fixtures import tiny_runs
from vaeflow.callbacks import Callback, Checkpoints, Evaluation
from vaeflow.layers import DenseDecoder, DenseEncoder
from vaeflow.models import VAE, WAE, BetaVAE
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.schedules import LinearSchedule


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


@pytest.mark.slow
def test_it_saves_when_due_and_at_the_end(tmp_path):
    tiny_runs.train(tmp_path, num_steps=17, callbacks=[Checkpoints(5, keep=10)])
    assert steps(tmp_path) == [5, 10, 15, 17]
    record = json.loads((tmp_path / "checkpoints" / "step-00000010" / "record.json").read_text())
    assert record["step"] == 10
    line = tiny_runs.metrics_lines(tmp_path)[1]
    assert record["metrics"]["train/loss"] == line["train/loss"]


@pytest.mark.slow
def test_it_keeps_the_newest_and_the_best(tmp_path):
    scores = Score({5: 3.0, 10: 1.0, 15: 2.0, 20: 4.0})
    tiny_runs.train(tmp_path, num_steps=30, callbacks=[scores, Checkpoints(5, keep=2, best_metric="score")])
    assert steps(tmp_path) == [10, 25, 30]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("best_metric", "advice"),
    [
        ("score/a", None),
        pytest.param("score/b", "unlike score/a", marks=pytest.mark.long),
        ("scroe/a", "unlike score/a"),
        pytest.param("evaluation/negative_elbo", None, marks=pytest.mark.long),
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_without_it_nothing_is_saved(tmp_path):
    tiny_runs.train(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("keep", [0, -1, 2.5, None])
def test_keep_is_checked(keep):
    with pytest.raises(ValueError, match=r"`Checkpoints.keep` must be a positive integer"):
        Checkpoints(keep=keep)


class Unreadable(tiny_runs.MemoryDataset):
    """A dataset whose test images must not be read."""

    def load(self, name):
        assert name != "evaluation"
        return super().load(name)


@pytest.mark.slow
def test_the_best_is_chosen_on_validation_images_and_test_images_are_not_read(tmp_path):
    dataset = Unreadable(tiny_runs.images(40), None, validation_fraction=0.25)
    with tiny_runs.untraced():
        tiny_runs.train(tmp_path, dataset=dataset, callbacks=[Evaluation(5), Checkpoints(5, keep=1)])
    lines = tiny_runs.metrics_lines(tmp_path)
    scores = {line["step"]: line["validation/selection_score"] for line in lines}
    assert CheckpointStore(tmp_path / "checkpoints").best_step() == min(scores, key=scores.__getitem__)
    assert not any(name.startswith("evaluation/") for line in lines for name in line)


@pytest.mark.long
def test_without_validation_images_no_checkpoint_is_the_best(tmp_path):
    """Otherwise the test images would choose what they then measure."""
    with tiny_runs.untraced():
        tiny_runs.train(tmp_path, callbacks=[Evaluation(5), Checkpoints(5)])
    assert "evaluation/negative_elbo" in tiny_runs.metrics_lines(tmp_path)[-1]
    store = CheckpointStore(tmp_path / "checkpoints")
    assert store.best_step() is None
    assert store.find("best") == 20


def test_the_score_weighs_the_kl_as_the_model_does():
    results = {"reconstruction_loss": 10.0, "kl": 3.0, "negative_elbo": 13.0}
    parts = DenseEncoder(units=(8,)), DenseDecoder(units=(8,))
    assert VAE(2, *parts).selection_score(results) == 13
    assert BetaVAE(num_latents=2, encoder=parts[0], decoder=parts[1], beta=4.0).selection_score(results) == 22
    assert VAE(2, *parts, kl_weight=LinearSchedule(0.0, 2.0, 100)).selection_score(results) == 16
    assert WAE(num_latents=2, encoder=parts[0], decoder=parts[1]).selection_score(results) == 10
