"""The callback `WandB` in its offline mode: what it has written is read back from the files."""

import collections
import json
import os
import pathlib
import signal

import pytest

from tests.fixtures import tracked_runs
from tests.fixtures.commands import message

pytestmark = [pytest.mark.trackers, pytest.mark.processes]
SETTINGS = "WandB.mode = 'offline'\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    pytest.importorskip("wandb", reason="pip install 'vaeflow[wandb]'")
    return tracked_runs.runs(tmp_path_factory.mktemp("runs"), "@WandB()", SETTINGS)


def sessions(runs, name):
    """The records of each start of a run, in order."""
    paths = sorted(runs.workdir(name).glob("wandb/offline-run-*/*.wandb"))
    return [list(tracked_runs.wandb_records(path)) for path in paths]


def rows(records):
    """The rows of metrics: dicts."""
    found = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row} for row in found
    ]


def summary(records):
    """What the summary holds at the end."""
    updates = [item for record in records for item in record.summary.update]
    return {item.key: json.loads(item.value_json) for item in updates if item.key}


def test_a_run_that_is_killed_twice_is_one_run_with_every_step_once(runs):
    assert tracked_runs.killed_after(runs, "killed", 5) < 20  # Before the first checkpoint.
    assert tracked_runs.killed_after(runs, "killed", 30) > 20
    finished = runs.run("killed", *tracked_runs.TRAINED)
    assert finished.code == 0, finished
    assert finished.error == ""
    starts = sessions(runs, "killed")
    assert len(starts) == 3
    ids = {record.run.run_id for records in starts for record in records if record.HasField("run")}
    assert ids == {json.loads((runs.workdir("killed") / "wandb.json").read_text())["run"]}

    told = [row for records in starts for row in rows(records)]
    lines = [json.loads(line) for line in runs.text("killed").splitlines()]
    assert [row["_step"] for row in told] == [line["step"] for line in lines]
    for name in ("step", "train/loss", "evaluation/negative_elbo"):
        assert [row.get(name) for row in told] == [line.get(name) for line in lines]
    pictures = collections.Counter(
        row["_step"] for row in told for name in row if name.startswith("images/") and name.endswith("/path")
    )
    assert pictures == {20: 3, 40: 3, 60: 3}

    assert summary(starts[-1])["weights_sha256"] == runs.result("killed")["weights_sha256"]
    assert summary(starts[-1])["state"] == "finished"
    (end,) = [record.exit for record in starts[-1] if record.HasField("exit")]
    assert end.exit_code == 0
    (last,) = runs.workdir("killed").glob("wandb/latest-run/files/config.gin")
    assert last.read_text() == (runs.workdir("killed") / "config.gin").read_text()


def test_a_run_that_is_stopped_is_preempted_and_holds_no_password(runs):
    folder = runs.workdir("stopped")
    url = "--gin_param=Checkpoints.best_metric = 'sftp://me:secret@host/x'"
    command = runs.start("stopped", *tracked_runs.TRAINED, url, environment={"PAUSE_SECONDS": 0.3})
    command.wait_until(lambda: runs.last_step("stopped") >= 10)
    command.send_signal(signal.SIGTERM)
    assert command.finish().code == 42
    (records,) = sessions(runs, "stopped")
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [42]
    assert any(record.HasField("preempting") for record in records)
    assert rows(records)[-1]["_step"] == runs.last_step("stopped")
    held = [path.read_bytes() for path in folder.glob("wandb/**/*") if path.is_file()]
    assert any(b"sftp://me:***@host/x" in content for content in held)
    assert not any(b"secret" in content for content in held)


def test_without_a_key_the_online_mode_ends_with_one_line(runs, tmp_path):
    assert "WANDB_API_KEY" not in os.environ
    environment = {"HOME": str(tmp_path), "NETRC": str(pathlib.Path(tmp_path) / "netrc")}
    mode = "--gin_param=WandB.mode = 'online'"
    finished = runs.run("online", *tracked_runs.TRAINED, mode, environment=environment)
    assert finished.code == 2, finished
    assert "`WandB` finds no API key; run `wandb login`" in message(finished)
