"""Checkpoints that somebody changed, and entries of others among them."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.runs.test_checkpoints import DATA, INDEX, RECORD, box, flipped, names, saved, truncated, value_of
from vaeflow.errors import ConfigurationError, EnvironmentFailure, TrainingDiverged
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.snapshot import Snapshot


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "checkpoints")


def renewed_sums(path):
    """Makes the sums of a record those of the files, as somebody who changed them on purpose would."""
    record = json.loads((path / RECORD).read_text())
    record["sha256"] = {
        name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in (DATA, INDEX)
    }
    (path / RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, truncated(part)) for name in (DATA, INDEX) for part in (0, 0.5)),
        *((name, flipped(place)) for name in (DATA, INDEX) for place in (0, 0.5, 0.999)),
    ],
)
def test_damage_whose_sums_were_renewed_is_found_too(store, caplog, name, damage):
    """TensorFlow's own errors would be taken for another model, or pass."""
    saved(store, 1, 2)
    damage(store.path(2) / name)
    renewed_sums(store.path(2))
    target = box(0)
    assert store.restore(target)["step"] == 1
    assert value_of(target) == 1.0
    assert "step-00000002: its variables are unreadable" in caplog.text


@pytest.mark.parametrize(
    "sums",
    [
        {},
        {INDEX: "0"},
        {DATA: "0"},
        {"record.json": "0"},
        {INDEX: "0", DATA: "0", "../secret": "0"},
        {INDEX: "0", "variables.data-00000-of-00002": "0"},
    ],
)
def test_a_record_covers_all_files_of_the_variables(store, sums):
    saved(store, 1)
    path = store.path(1) / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": sums}))
    assert "its sums are of " in store.problem_with(1)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, '{"step": ' + "9" * 5000])
def test_a_record_that_no_reader_of_json_takes_is_damaged(store, text):
    saved(store, 1, 2)
    (store.path(2) / RECORD).write_text(text)
    assert store.restore(box(0))["step"] == 1


def test_a_record_that_is_a_pipe_is_not_waited_for(store):
    saved(store, 1, 2)
    (store.path(2) / RECORD).unlink()
    os.mkfifo(store.path(2) / RECORD)
    assert store.restore(box(0))["step"] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["model", "averages", "optimizer"])
def test_what_is_not_finite_is_not_saved_and_removes_nothing(tmp_path, bad, part):
    store = saved(CheckpointStore(tmp_path, keep=1), 1)
    parts = {"model": 2.0, "averages": 2.0, "optimizer": 2.0} | {part: bad}
    checkpoint = tf.train.Checkpoint(**{name: [tf.Variable(value)] for name, value in parts.items()})
    with pytest.raises(TrainingDiverged, match=f"after step 2, {part}/0 is not finite"):
        store.save(checkpoint, 2)
    assert names(store) == ["step-00000001"]


def test_what_is_not_finite_in_few_bits_is_found(tmp_path):
    value = tf.Variable(tf.constant([1.0, np.inf], tf.bfloat16))
    with pytest.raises(TrainingDiverged):
        CheckpointStore(tmp_path).save(tf.train.Checkpoint(model=[value]), 1)


def test_a_checkpoint_of_an_earlier_version_that_is_not_finite_is_refused(store, monkeypatch):
    saved(store, 1)
    with monkeypatch.context() as patched:
        patched.setattr(Snapshot, "first_not_finite", lambda self: None)
        store.save(box(np.nan), 2)
    assert store.problem_with(2) == "model/0 is not finite"
    assert store.restore(box(0))["step"] == 1


def test_entries_of_others_are_neither_read_nor_renamed_nor_fatal(store):
    """`step-30` was renamed as a checkpoint of step 30, and `step-٣` ended the run."""
    store.retain(1, "score")
    saved(store, 30)
    for name in ("step-30", "step-٣", "step-00000030 (copy)", "step-0000000000000000000000030", "step-"):
        shutil.copytree(store.path(30), store.folder / name)
    (store.folder / "step-00000005").write_text("mine")
    (store.folder / "step-00000006").symlink_to(store.path(30))
    (store.folder / ".unfinished-x").write_text("mine")
    foreign = set(names(store)) - {"step-00000030"}
    assert store.steps() == [30]
    saved(store, 40, 50)
    assert set(names(store)) == foreign | {"step-00000050"}
    assert store.restore(box(0))["step"] == 50
    for wanted in ("step-٣", "٣", "30", "9" * 5000):
        with pytest.raises(ConfigurationError, match="there is no checkpoint"):
            store.find(wanted)


def test_a_file_with_the_name_that_a_checkpoint_needs_is_kept(store, caplog):
    saved(store, 1)
    store.path(2).write_text("mine")
    saved(store, 2)
    assert store.steps() == [1, 2]
    (kept,) = [name for name in names(store) if "(" in name]
    assert (store.folder / kept).read_text() == "mine"
    assert kept in caplog.text


def test_a_missing_step_among_many_names_the_nearest_ten(store):
    store.folder.mkdir()
    for step in range(10, 30010, 10):
        store.path(step).mkdir()
    with pytest.raises(ConfigurationError, match=r"one of the steps 14960, .*, 15050, and 2990 more$"):
        store.find(15001)
    with pytest.raises(ConfigurationError, match=r"one of the steps 29910, .*, 30000, and 2990 more$"):
        store.find("newest")


def test_a_link_in_place_of_the_folder_is_read_and_not_written_to(tmp_path):
    elsewhere = saved(CheckpointStore(tmp_path / "elsewhere"), 1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(elsewhere.folder)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert store.restore(box(0))["step"] == 1
    with pytest.raises(EnvironmentFailure, match="is a link that leads out of the work folder"):
        saved(store, 2)
    assert elsewhere.steps() == [1]
