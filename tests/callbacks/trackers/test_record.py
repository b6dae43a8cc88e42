"""The file by which a job stays one run of a tracker, where it comes from elsewhere."""

import json

import pytest

from vaeflow.callbacks.trackers.record import Record
from vaeflow.runs.workdir import WorkDir


def test_an_identity_of_ours_is_kept(tmp_path):
    record = Record(WorkDir(tmp_path), "mlflow")
    record.begin("train.seed = 1\n", 0)
    assert Record(WorkDir(tmp_path), "mlflow").content == record.content


@pytest.mark.parametrize("run", ["x' OR 'a' = 'a", "../../other", "0" * 15, 7])
def test_an_identity_that_is_none_begins_a_new_run(tmp_path, caplog, run):
    """MLflow gets it as a part of a query, Weights & Biases as a part of a path."""
    Record(WorkDir(tmp_path), "mlflow").begin("train.seed = 1\n", 0)
    path = tmp_path / "mlflow.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run": run}))
    assert Record(WorkDir(tmp_path), "mlflow").content == {}
    assert "its 'run' must be 16 hexadecimal digits" in caplog.text
