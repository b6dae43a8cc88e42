"""What a tracker is told of a run besides its metrics."""

import json
import os

from vaeflow.callbacks.trackers import described
from vaeflow.runs.workdir import WorkDir


def test_parameters_hold_no_passwords():
    settings = {"Mirror.url": "sftp://me:secret@host/runs", "n": 1, "urls": ["s3://me:secret@host/x", None]}
    assert described.parameters(settings) == {
        "Mirror.url": "sftp://me:***@host/runs",
        "n": 1,
        "urls": ["s3://me:***@host/x", None],
    }


def test_tags_name_the_revision_if_it_is_known(tmp_path):
    assert described.tags(WorkDir(tmp_path)) == {"workdir": str(tmp_path)}
    environment = {"packages": {"vaeflow": None, "numpy": "2"}, "git_revision": "abc"}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    assert described.tags(WorkDir(tmp_path))["revision"] == "abc"


def test_pictures_are_listed_in_the_order_of_their_steps(tmp_path):
    folder = tmp_path / "[*]"
    folder.mkdir()
    for name in ("samples-00000010", "samples-00000009", "mine", ".samples-00000008"):
        (folder / f"{name}.png").touch()
    assert [(each.step, each.name) for each in described.pictures(folder)] == [
        (9, "samples"),
        (10, "samples"),
    ]


def test_links_and_pipes_are_no_pictures(tmp_path):
    """A link could publish any picture of the user's, and a tracker would wait for a pipe for ever."""
    (tmp_path / "samples-00000001.png").touch()
    (tmp_path / "samples-00000002.png").symlink_to("samples-00000001.png")
    (tmp_path / "samples-00000003.png").mkdir()
    os.mkfifo(tmp_path / "samples-00000004.png")
    assert [each.step for each in described.pictures(tmp_path)] == [1]
