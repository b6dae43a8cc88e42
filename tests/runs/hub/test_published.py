"""What of a work folder is published: its files, without paths of the machine, and no links."""

import json
import re

import pytest

from tests.fixtures import hubs
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs.hub import manifest, published
from vaeflow.runs.hub.measured import Measured

CHECKPOINT = f"checkpoints/step-{hubs.STEP:08d}"
NAMES = [
    "config.gin", "environment.json", "data.json", "result.json", "metrics.jsonl",
    f"{CHECKPOINT}/record.json", f"{CHECKPOINT}/variables.index",
    f"{CHECKPOINT}/variables.data-00000-of-00001", "export/export.json", "export/model.keras",
    "export/saved_model/saved_model.pb", "export/saved_model/variables/variables.index",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return hubs.work_folder(tmp_path / "lr=[1e-3]*")


def content(files, name):
    found = files[name]
    return found if isinstance(found, bytes) else found.read_bytes()


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_nothing_else_of_the_folder_is_published(folder):
    assert sorted(published.gather(folder).files) == sorted(NAMES)


def test_no_path_of_the_machine_is_published(folder):
    change(folder / "environment.json", data="Arrays at '/home/somebody/secret place/x.npz'")
    files = published.gather(folder).with_card("# Tiny\n")
    for name in files:
        assert b"somebody" not in content(files, name), name
    assert b"Arrays.train = 'train.npz'" in content(files, "config.gin")
    environment = json.loads(content(files, "environment.json"))
    assert environment["command"] == ["vaeflow", "train", "--workdir=run"]
    assert environment["data"] == "Arrays at 'x.npz'"
    assert json.loads(content(files, "result.json")) == {"step": 20, "ended_by": "the file 'secret place'"}
    record = json.loads(content(files, f"{CHECKPOINT}/record.json"))
    assert record["callbacks"] == {"Mine": {"folder": "logs"}}


def test_no_password_of_a_url_is_published(folder):
    with (folder / "config.gin").open("a") as file:
        file.write("Mirror.url = 'sftp://me:hunter2@host/runs'\n")
    change(
        folder / "environment.json", command=["vaeflow", "--gin_param=Mirror.url = 'sftp://me:hunter2@host'"]
    )
    files = published.gather(folder).files
    assert not [name for name in files if b"hunter2" in content(files, name)]
    assert b"Mirror.url = 'sftp://me:***@host/runs'" in content(files, "config.gin")


def test_records_keep_their_numbers(folder):
    path = folder / CHECKPOINT / "record.json"
    change(path, metrics={"x": 0.1 + 0.2, "y": 1e-300, "z": None}, step=hubs.STEP)
    files = published.gather(folder).files
    assert json.loads(content(files, f"{CHECKPOINT}/record.json"))["metrics"] == {
        "x": 0.1 + 0.2, "y": 1e-300, "z": None
    }  # fmt: skip


def test_the_log_keeps_the_bytes_of_its_lines(folder):
    """Its digest is in the checkpoint."""
    assert (
        content(published.gather(folder).files, "metrics.jsonl") == b'{"step": 10, "kl":1.50}\n{"step": 20}\n'
    )


def test_the_manifest_has_the_digest_of_every_file(folder, tmp_path):
    files = published.gather(folder).with_card("# Tiny\n")
    path = tmp_path / manifest.NAME
    path.write_bytes(files.pop(manifest.NAME))
    read = manifest.read(path)
    assert read.step == hubs.STEP
    assert read.files == {name: manifest.digest_of(content(files, name)) for name in files}


def test_an_evaluation_of_the_same_step_is_published(folder):
    path = folder / "evaluation.json"
    metrics = {"nll[none]": 99.5, "kl_per_dimension_nats/3[none]": 1.0, "broken": None}
    evaluation = {"step": 10, "dataset": "MNIST", "split": "train", "metrics": metrics}
    path.write_text(json.dumps({**evaluation, "configuration": f"X.file = '{hubs.SECRET}/x'\n"}))
    assert published.gather(folder).measured == Measured("MNIST", "evaluation", {"negative_elbo": 101.5})
    assert "evaluation.json" not in published.gather(folder).files
    change(path, step=hubs.STEP)
    found = published.gather(folder)
    assert found.measured == Measured("MNIST", "train", {"nll[none]": 99.5})
    assert json.loads(content(found.files, "evaluation.json"))["configuration"] == "X.file = 'x'\n"


def test_without_an_export(folder):
    (folder / "export/export.json").unlink()
    with pytest.raises(
        ConfigurationError, match=r"holds no export, .*run `vaeflow export` with --workdir=.* first"
    ):
        published.gather(folder)


def test_what_is_no_work_folder(tmp_path):
    with pytest.raises(ConfigurationError, match=r"not the work folder of a run: there is no config.gin"):
        published.gather(tmp_path)


def test_an_export_whose_checkpoint_is_gone(folder):
    (folder / CHECKPOINT).rename(folder / "elsewhere")
    with pytest.raises(
        ConfigurationError,
        match=r"checkpoint of the export, .*step-00000020, is gone; run `vaeflow export` again",
    ):
        published.gather(folder)


def test_a_damaged_checkpoint_is_not_published(folder):
    (folder / CHECKPOINT / "variables.index").write_bytes(b"\0INDEX")
    with pytest.raises(EnvironmentFailure, match=r"variables.index differs from what its run wrote"):
        published.gather(folder)


@pytest.mark.parametrize(
    "name", [*NAMES, "export/README.md", "export/saved_model/variables", "export/saved_model", CHECKPOINT]
)
def test_a_link_is_not_followed(folder, tmp_path, name):
    path, elsewhere = folder / name, tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(ConfigurationError, match=r"is missing, a link or no regular file; only files are"):
        published.gather(folder)


@pytest.mark.parametrize("name", ["../config.gin", "/etc", "saved_model/../..", ".", ""])
def test_a_record_of_an_export_that_leads_elsewhere(folder, name):
    change(folder / "export/export.json", files={name: 0.0})
    with pytest.raises(ConfigurationError, match=f"export.json names {re.escape(repr(name))}"):
        published.gather(folder)


@pytest.mark.parametrize("name", ["../../config.gin", "/etc/passwd", "variables.index/../record.json"])
def test_a_record_of_a_checkpoint_that_leads_elsewhere(folder, name):
    change(folder / CHECKPOINT / "record.json", sha256={name: "0" * 64})
    with pytest.raises((ConfigurationError, EnvironmentFailure)):
        published.gather(folder)


def test_malformed_files_are_named(folder):
    (folder / "export/export.json").write_text('{"step": NaN}')
    with pytest.raises(ConfigurationError, match=r"export.json is not what vaeflow writes: it holds NaN"):
        published.gather(folder)
