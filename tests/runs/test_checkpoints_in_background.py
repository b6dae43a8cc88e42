"""Saves that are not waited for: what they hold, what they fail with, and what others see meanwhile."""

import json
import threading

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.disk import SlowDisk, full_disk
from tests.runs.test_checkpoints import DATA, RECORD, box, names, saved, value_of
from vaeflow.errors import EnvironmentFailure, TrainingDiverged
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.metrics_log import LogDigest


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


@pytest.fixture
def slow_disk(store, monkeypatch):
    """A disk that is slow, with a checkpoint of step 1."""
    saved(store, 1)
    return SlowDisk(monkeypatch)


def test_nothing_is_seen_of_a_checkpoint_before_it_is_written(store, slow_disk):
    path = store.save(box(2), 2, wait=False)
    store.check_saving()
    assert store.steps() == [1]
    assert CheckpointStore(store.folder).restore(box(0))["step"] == 1
    slow_disk.release()
    store.finish_saving()
    assert path.name == "step-00000002"
    assert store.steps() == [1, 2]
    assert store.problem_with(2) is None


def test_it_holds_what_was_known_when_it_was_asked_for(tmp_path, monkeypatch):
    digests = iter([LogDigest().followed_by(b"one\n"), LogDigest().followed_by(b"other\n")])
    store = CheckpointStore(tmp_path, log_digest=lambda: next(digests))
    slow_disk = SlowDisk(monkeypatch)
    checkpoint, metrics = box(1), {"score": 1.0}
    store.save(checkpoint, 1, metrics, wait=False)
    checkpoint.model[0].assign(np.full(4, 2, np.float32))
    metrics["score"] = 2.0
    next(digests)
    slow_disk.release()
    store.finish_saving()
    target = box(0)
    record = store.restore(target)
    assert value_of(target) == 1.0
    assert record["metrics"] == {"score": 1.0}
    assert record["log"] == LogDigest().followed_by(b"one\n")


def test_a_second_save_waits_for_the_first_and_leaves_its_values_alone(store, slow_disk):
    store.save(box(2), 2, wait=False)
    threading.Timer(0.05, slow_disk.release).start()
    store.save(box(3), 3, wait=False)
    assert store.steps() == [1, 2]
    store.finish_saving()
    for step in (2, 3):
        assert store.read_weights(step)["model"][0][0] == step


def test_a_disk_that_fails_is_told_once_it_is_known_and_leaves_the_checkpoint_before(store):
    saved(store, 1)
    with full_disk(16):
        store.save(box(2, size=100_000), 2, wait=False)
        store._saving._thread.join()
    with pytest.raises(EnvironmentFailure, match=r"step-00000002 cannot be written \(File too large\)"):
        store.check_saving()
    assert names(store) == ["step-00000001"]
    store.finish_saving()
    saved(store, 3)
    assert store.steps() == [1, 3]


def test_what_is_not_finite_is_told_by_the_next_save_and_removes_nothing(store):
    store.retain(1, "score")
    saved(store, 1)
    store.save(box(np.nan), 2, wait=False)
    with pytest.raises(TrainingDiverged, match="after step 2, model/0 is not finite; it was not saved"):
        store.save(box(3), 3)
    assert names(store) == ["step-00000001"]


def test_a_step_saved_again_is_only_completed(store, slow_disk):
    """Written anew, it would be gone for a moment; its weights are those of the first save."""
    slow_disk.release()
    before = (store.path(1) / DATA).stat().st_ino
    store.save(box(8), 1, {"train/loss": 1.0, "score": 2.0}, wait=False)
    store.finish_saving()
    assert json.loads((store.path(1) / RECORD).read_text())["metrics"] == {"train/loss": 1.0, "score": 2.0}
    assert (store.path(1) / DATA).stat().st_ino == before


def test_the_best_is_kept_by_saves_that_nobody_waits_for(tmp_path):
    store = CheckpointStore(tmp_path, keep=1, best_metric="score")
    for step, score in enumerate([5.0, 1.0, 3.0, 4.0], 1):
        store.save(box(step), step, {"score": score}, wait=False)
    store.finish_saving()
    assert store.steps() == [2, 4]
    assert store.find("best") == 2


def test_a_checkpoint_that_is_needed_until_another_is_saved_is_kept_so_long(store, slow_disk):
    """Pruned by the save under way, it would be gone before the other one is there."""
    store.retain(1, "score")
    store.held["best"] = 1
    store.save(box(2), 2, wait=False)
    store.held["best"] = 3
    slow_disk.release()
    store.finish_saving()
    assert store.steps() == [1, 2]
    store.save(box(3), 3)
    assert store.steps() == [3]


def test_a_save_is_expected_to_take_as_long_as_the_last_after_one_under_way(store, monkeypatch):
    assert store.expected_seconds() == 0.0
    saved(store, 1)
    seconds = store.expected_seconds()
    assert seconds > 0.0
    slow_disk = SlowDisk(monkeypatch)
    store.save(box(2), 2, wait=False)
    assert store.expected_seconds() == 2 * seconds
    slow_disk.release()
    store.finish_saving()


def test_a_save_of_other_variables_follows_one_under_way(store, slow_disk):
    store.save(box(2), 2, wait=False)
    slow_disk.release()
    store.save(tf.train.Checkpoint(model=[tf.Variable([[7.0]])], averages=[tf.Variable(8.0)]), 3)
    assert store.read_weights(2)["model"][0].tolist() == [2.0] * 4
    assert store.read_weights(3)["averages"][0] == 8.0
