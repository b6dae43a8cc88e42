"""Checkpoints: equal after a restore, whole or refused, pruned, and safe when the disk fails."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from tests.fixtures.disk import full_disk
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.totals import Totals

DATA, INDEX, RECORD = "variables.data-00000-of-00001", "variables.index", "record.json"


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def box(value, size=4):
    """Some variables: a checkpoint of `value`."""
    return tf.train.Checkpoint(model=[tf.Variable(np.full(size, value, np.float32))])


def value_of(checkpoint):
    return float(checkpoint.model[0][0])


def saved(store, *steps):
    """Saves checkpoints whose variables hold their step."""
    for step in steps:
        store.save(box(step), step, {"train/loss": float(step)})
    return store


def names(store):
    return sorted(path.name for path in store.folder.iterdir())


def state(trainer):
    return [
        *(weight.numpy() for weight in trainer.model.weights),
        *(slot.numpy() for slot in trainer.optimizer.variables),
        *(average.numpy() for average in trainer.checkpoint().averages),
    ]


@pytest.mark.slow
def test_a_restored_trainer_equals_the_saved_one(store):
    settings = {"ema_decay": 0.9}
    one = tiny_runs.trainer(**settings)
    one.train_and_report(5)
    store.save(one.checkpoint(), one.step, {"train/loss": 1.5})

    other = tiny_runs.trainer(seed=0, **settings)
    assert any(np.any(a != b) for a, b in zip(state(one), state(other), strict=True))
    record = store.restore(other.checkpoint())
    assert (record["step"], record["metrics"]) == (5, {"train/loss": 1.5})
    for a, b in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(state(one)) > 2 * len(one.model.trainable_variables) + len(one.checkpoint().averages)

    other.resume_at(record["step"])
    for trainer in (one, other):
        trainer.train_and_report(5)
        trainer.train_and_report(2)
    for a, b in zip(state(one), state(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_checkpoints_there_is_nothing_to_restore(store):
    assert store.restore(box(0)) is None
    assert store.steps() == []
    assert store.best_step() is None


def truncated(part):
    def damage(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])

    return damage


def flipped(place):
    def damage(path):
        content = bytearray(path.read_bytes())
        content[int(len(content) * place)] ^= 0x01
        path.write_bytes(content)

    return damage


def replaced(text):
    return lambda path: path.write_text(text)


DAMAGES = [
    *((name, truncated(part)) for name in (DATA, INDEX, RECORD) for part in (0, 0.5, 0.99)),
    *((name, flipped(place)) for name in (DATA, INDEX) for place in (0, 0.5, 0.999)),
    *((name, lambda path: path.unlink()) for name in (DATA, INDEX, RECORD)),
    (RECORD, replaced("[]")),
    (RECORD, replaced("null")),
    (RECORD, replaced('{"step": 2, "metrics": {}}')),
    (RECORD, replaced('{"step": 2, "metrics": {}, "sha256": {}}')),
    (RECORD, replaced('{"step": 2, "metrics": {}, "sha256": 7}')),
    (RECORD, lambda path: path.write_bytes(b"\xff\xfe\x00")),
    (RECORD, lambda path: path.write_text(path.read_text().replace('"totals": null', '"totals": 7'))),
    (RECORD, lambda path: path.write_text(path.read_text().replace('"step": 2', '"step": 3'))),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_refused_for_the_one_before(store, caplog, name, damage):
    saved(store, 1, 2)
    damage(store.folder / "step-00000002" / name)
    target = box(0)
    assert store.restore(target)["step"] == 1
    assert value_of(target) == 1.0
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "step-00000002" in message
    assert name in message
    assert "trying the previous one" in message


def test_when_all_are_damaged_the_run_does_not_start_anew(store):
    saved(store, 1, 2)
    for step in (1, 2):
        flipped(0.5)(store.folder / f"step-{step:08d}" / DATA)
    target = box(0)
    with pytest.raises(EnvironmentFailure, match=r"none of the 2 checkpoints.*--workdir"):
        store.restore(target)
    assert value_of(target) == 0.0


def test_an_unfinished_folder_is_ignored_and_then_removed(store):
    saved(store, 1)
    unfinished = store.folder / ".unfinished-step-00000002-0123456789abcdef"
    shutil.copytree(store.folder / "step-00000001", unfinished)
    (unfinished / RECORD).unlink()
    assert store.steps() == [1]
    assert store.restore(box(0))["step"] == 1
    saved(store, 3)
    assert names(store) == ["step-00000001", "step-00000003"]


def test_what_is_no_checkpoint_is_left_alone(store):
    saved(store, 1)
    (store.folder / "step-00000001-mine").mkdir()
    (store.folder / "notes.txt").write_text("mine")
    target = box(0)
    assert store.restore(target)["step"] == 1
    saved(store, 2, 3, 4)
    assert store.steps() == [2, 3, 4]
    assert {"notes.txt", "step-00000001-mine"} < set(names(store))


def test_the_newest_and_the_best_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2, best_metric="score")
    for step, score in [(1, 5.0), (2, 1.0), (3, 3.0), (4, float("nan")), (5, None), (6, 2.0)]:
        store.save(box(step), step, {} if score is None else {"score": score})
    assert store.steps() == [2, 5, 6]
    assert store.best_step() == 2
    store.save(box(7), 7, {"score": 0.5})
    assert store.steps() == [6, 7]
    assert store.best_step() == 7


def test_without_the_metric_only_the_newest_are_kept(tmp_path):
    store = saved(CheckpointStore(tmp_path, keep=1), 1, 2, 3)
    assert store.steps() == [3]
    assert store.best_step() is None


def test_a_step_saved_again_is_replaced_only_where_it_is_damaged(store):
    saved(store, 1)
    store.save(box(8), 1, {})
    target = box(0)
    store.restore(target)
    assert value_of(target) == 1.0
    assert names(store) == ["step-00000001"]
    (store.folder / "step-00000001" / DATA).write_bytes(b"")
    store.save(box(8), 1, {})
    store.restore(target)
    assert value_of(target) == 8.0
    assert names(store) == ["step-00000001"]


def test_damaged_checkpoints_of_later_steps_do_not_push_out_the_one_just_saved(store):
    store.retain(1, "evaluation/negative_elbo")
    saved(store, 900)
    (store.folder / "step-00000900" / DATA).write_bytes(b"")
    saved(store, 850)
    assert store.restore(box(0))["step"] == 850


def test_the_record_describes_the_files(store):
    path = store.save(box(1), 1200, {"train/loss": 2.5})
    assert path.name == "step-00001200"
    record = json.loads((path / RECORD).read_text())
    assert (record["step"], record["metrics"]) == (1200, {"train/loss": 2.5})
    assert set(record["sha256"]) == {DATA, INDEX}
    assert store.problem_with(1200) is None


def test_a_metric_that_is_not_finite_is_null_in_the_record_and_nan_when_read(store):
    path = store.save(box(1), 1, {"score": float("nan"), "kl": 2.0})
    assert '"score": null' in (path / RECORD).read_text()
    metrics = store.record(1)["metrics"]
    assert np.isnan(metrics["score"])
    assert metrics["kl"] == 2.0


def test_the_totals_of_a_loop_that_was_cut_short_come_back(store):
    totals = Totals(3, 1 / 3, 0.1, {"loss": float(np.float32(2) / 3), "kl": float("nan")})
    store.save(box(1), 1, {}, totals)
    restored = store.restore(box(0))["totals"]
    assert np.isnan(restored.sums.pop("kl"))
    assert totals.sums.pop("kl")
    assert restored == totals


def test_a_record_without_totals_is_of_a_whole_loop(store):
    """As versions before wrote it."""
    saved(store, 1)
    path = store.path(1) / RECORD
    record = json.loads(path.read_text())
    assert record.pop("totals") is None
    path.write_text(json.dumps(record))
    assert store.restore(box(0))["totals"] == Totals()


def test_a_full_disk_leaves_the_previous_checkpoint_alone(store):
    saved(store, 1)
    refusal = "step-00000002 cannot be written"
    with full_disk(16), pytest.raises(EnvironmentFailure, match=refusal):
        store.save(box(2, size=100_000), 2)
    assert names(store) == ["step-00000001"]
    target = box(0)
    assert store.restore(target)["step"] == 1
    assert value_of(target) == 1.0
    saved(store, 3)
    assert store.steps() == [1, 3]


def test_a_file_in_place_of_the_folder(store):
    store.folder.parent.mkdir(exist_ok=True)
    store.folder.write_text("mine")
    with pytest.raises(EnvironmentFailure, match="checkpoints cannot be written"):
        saved(store, 1)
    assert store.folder.read_text() == "mine"


def variables(*shapes, dtype="float32", **more):
    return tf.train.Checkpoint(model=[tf.Variable(np.ones(shape, dtype)) for shape in shapes], **more)


OTHERS = {
    "another shape": lambda: variables((5,)),
    "fewer variables": lambda: variables(),
    "more variables": lambda: variables((4,), (4,)),
    "another type": lambda: variables((4,), dtype="float64"),
    "averages too": lambda: variables((4,), averages=[tf.Variable(0.0)]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_model_is_refused(store, other):
    store.save(variables((4,)), 1)
    with pytest.raises(
        ConfigurationError, match=r"step-00000001 belongs to another model or optimizer.*--workdir"
    ):
        store.restore(OTHERS[other]())


@pytest.mark.slow
def test_another_optimizer_is_refused(store):
    trainer = tiny_runs.trainer()
    store.save(trainer.checkpoint(), 1)
    other = tiny_runs.trainer()
    sgd = keras.optimizers.SGD()
    sgd.build(other.model.trainable_variables)
    other.optimizer = sgd
    with pytest.raises(ConfigurationError, match="another model or optimizer"):
        store.restore(other.checkpoint())


def test_the_metric_of_the_best_is_recorded_with_each_checkpoint(tmp_path):
    store = CheckpointStore(tmp_path)
    assert store.best_metric == "evaluation/negative_elbo"
    store.retain(3, "score")
    for step, score in ((1, 2.0), (2, 1.0), (3, 3.0)):
        store.save(box(0.0), step, {"score": score, "evaluation/negative_elbo": -score})
    again = CheckpointStore(tmp_path)
    assert again.best_metric == "score"
    assert again.find("best") == 2
