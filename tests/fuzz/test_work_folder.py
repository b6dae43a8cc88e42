"""Whatever happens to the files of a work folder: an intact state, or one line that says what is wrong."""

import hashlib
import json
import os
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.damage import damaged, damaged_json
from vaeflow.devices.workers import Workers
from vaeflow.errors import ConfigurationError, EnvironmentFailure, RunError
from vaeflow.runs import record
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.heartbeats import Heartbeats
from vaeflow.runs.workdir import WorkDir

RECORD = "record.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 1 and 2, whose variables hold their step."""
    store = CheckpointStore(tmp_path_factory.mktemp("saved") / "checkpoints", image_shape=(8, 8, 1))
    for step in (1, 2):
        store.save(variables(step), step, {"evaluation/negative_elbo": 3.0 - step, "train/loss": 1.5})
    return store.folder


def variables(value):
    shapes = [(3, 4), (4,), ()]
    lists = {name: [tf.Variable(np.full(shape, value, np.float32)) for shape in shapes] for name in "ab"}
    return tf.train.Checkpoint(model=lists["a"], averages=lists["b"])


def values(checkpoint):
    return {float(number) for each in checkpoint.model for number in np.ravel(each.numpy())}


def renew_sums(folder):
    """Makes the sums of a record those of its files, as somebody who changed them on purpose would."""
    path = folder / RECORD
    try:
        content = json.loads(path.read_bytes())
        for name in content["sha256"]:
            content["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        path.write_text(json.dumps(content))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, AttributeError):
        pass


def is_one_line(text):
    return "\n" not in text and len(text) < 1000


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Nothing is left to lose after a test: no wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.slow
@pytest.mark.parametrize("count", [60, pytest.param(4_000, marks=pytest.mark.fuzz)])
def test_a_damaged_checkpoint_is_never_taken_for_another(saved, tmp_path, count):
    choice = random.Random(count)
    for number in range(count):
        folder = tmp_path / "checkpoints"
        shutil.copytree(saved, folder)
        for _ in range(choice.choice([1, 1, 2])):
            path = choice.choice(sorted(folder.glob("*/*")))
            change = damaged_json if path.name == RECORD else damaged
            path.write_bytes(change(path.read_bytes(), choice))
        if choice.random() < 0.5:
            for each in folder.iterdir():
                renew_sums(each)
        store, target, refusal = CheckpointStore(folder), variables(0), "-"
        try:
            found = store.restore(target)
            assert values(target) == {found["step"]}, number
            best = store.find("best")
            assert {float(each.ravel()[0]) for each in store.read_weights(best)["model"]} == {best}, number
        except (EnvironmentFailure, ConfigurationError) as error:
            refusal = str(error)
        assert is_one_line(refusal), number
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
        shutil.rmtree(folder)


WORKERS = Workers(("a:1", "b:2"), 0)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """The logs of a finished run of two workers."""
    folder = WorkDir(tmp_path_factory.mktemp("run") / "run")
    folder.path.mkdir()
    folder.write_provenance("train.seed = 3\n", "train.seed = 3\n", {"data": "Arrays, 40 images"})
    for step in (10, 20):
        folder.append_metrics({"step": step, "wall_seconds": 1.5, "evaluation/negative_elbo": 44.5})
    result = {"step": 20, "wall_seconds": 1.5, "num_replicas": 2, "weights_sha256": "0" * 64}
    folder.write_json("result.json", result)
    folder.write_json("evaluation.json", {"step": 20, "metrics": {"kl_nats[none]": 2.5}})
    for index in (0, 1):
        Heartbeats(folder.path, Workers(WORKERS.addresses, index)).beat("step 20", ended=0)
    return folder.path


def read_all(path):
    """Reads all logs as the commands do."""
    folder = WorkDir(path)
    folder.result()
    heartbeats = Heartbeats(path, WORKERS)
    for _ in range(2):
        heartbeats.look()
        heartbeats.missing()
        heartbeats.problem(1.0)
    record.write(str(path), str(path.parent / "results"), "one")
    steps = [line["step"] for line in folder.read_metrics()]
    folder.start_metrics(15)
    assert [line["step"] for line in folder.read_metrics()] == [step for step in steps if step <= 15]


@pytest.mark.slow
@pytest.mark.parametrize("count", [150, pytest.param(3_000, marks=pytest.mark.fuzz)])
def test_damaged_logs_are_read_or_refused_in_one_line(run_folder, tmp_path, count):
    choice = random.Random(count)
    path, refused = tmp_path / "run", 0
    for number in range(count):
        shutil.copytree(run_folder, path)
        for _ in range(choice.choice([1, 1, 2])):
            damaged_file = choice.choice(sorted(each for each in path.rglob("*") if each.is_file()))
            damaged_file.write_bytes(damaged_json(damaged_file.read_bytes(), choice))
        refusal = "-"
        try:
            read_all(path)
        except RunError as error:
            refused += 1
            refusal = str(error)
        assert is_one_line(refusal), number
        assert {each.name for each in tmp_path.iterdir()} <= {"run", "results"}
        shutil.rmtree(path)
    assert 0 < refused < count
