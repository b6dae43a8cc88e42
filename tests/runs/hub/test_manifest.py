"""The manifest of a repository: what it may name, and what is refused."""

import hashlib
import json

import pytest

from vaeflow.runs import json_files
from vaeflow.runs.hub import manifest
from vaeflow.runs.hub.manifest import FileDigest, Manifest

CHECKPOINT = "checkpoints/step-00000020"
NEEDED = ("config.gin", f"{CHECKPOINT}/record.json", f"{CHECKPOINT}/variables.index")
ENTRY = {"size": 1, "sha256": "0" * 64}


def written(folder, *more, without=None, **changes):
    """A file with a manifest of `NEEDED` and of further names."""
    files = {name: ENTRY for name in (*NEEDED, *more) if name != without}
    path = folder / manifest.NAME
    path.write_text(json.dumps({"format": 1, "step": 20, "files": files} | changes))
    return path


def test_what_is_written_is_read(tmp_path):
    files = {name: FileDigest(3, f"{index}" * 64) for index, name in enumerate(NEEDED)}
    path = tmp_path / manifest.NAME
    path.write_bytes(Manifest(20, files).to_bytes())
    assert manifest.read(path) == Manifest(20, files)


def test_the_model_is_the_configuration_and_the_checkpoint(tmp_path):
    more = ("environment.json", "evaluation.json", "README.md", "export/model.keras")
    read = manifest.read(written(tmp_path, *more))
    assert sorted(read.of_the_model) == sorted([*NEEDED, "environment.json"])


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "metrics.jsonl",
        "result.json",
        "export/onnx/encode.onnx",
        "export/saved_model/variables/variables.data-00000-of-00001",
        f"{CHECKPOINT}/variables.data-00001-of-00002",
    ],
)
def test_names_that_a_push_gives(name):
    assert manifest.is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "../config.gin",
        "/etc/passwd",
        "export/../../x",
        "export/..",
        "export//x",
        "export/.hidden",
        "export/a\\b",
        "export/a\nb",
        "export/README.md",
        "export",
        "evil.py",
        "config.gin\n",
        "checkpoints/step-00000020/../../x",
        "checkpoints/step-00000020/evil.py",
        "checkpoints/x/record.json",
        "vaeflow.json",
        "operative_config.gin",
        "",
        "export/" + "a" * 101,
        "export" + "/a" * 7,
    ],
)
def test_other_names_are_refused(name, tmp_path):
    with pytest.raises(json_files.MalformedError, match="which `vaeflow push` never writes"):
        manifest.read(written(tmp_path, name))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "its format is 2, and this version reads 1"),
        ({"step": "20"}, "its 'step' must be a whole number"),
        ({"step": 21}, "which is not of step 21"),
        ({"files": []}, "its 'files' must be an object of objects"),
        ({"files": {"config.gin": {"size": 1}}}, "it lacks 'files/config.gin/sha256'"),
        ({"files": {"config.gin": {"size": -1, "sha256": "0" * 64}}}, "is not a size and a SHA-256"),
        ({"files": {"config.gin": {"size": 1, "sha256": "0" * 63}}}, "is not a size and a SHA-256"),
        ({"files": {f"export/{number}": ENTRY for number in range(1001)}}, "more than 1,000 files"),
    ],
)
def test_a_malformed_manifest_is_refused(changes, reason, tmp_path):
    with pytest.raises(json_files.MalformedError, match=reason):
        manifest.read(written(tmp_path, **changes))


@pytest.mark.parametrize("name", NEEDED)
def test_what_loads_the_model_must_be_there(name, tmp_path):
    with pytest.raises(json_files.MalformedError, match=f"it lacks 'files/{name}'"):
        manifest.read(written(tmp_path, without=name))


def test_a_huge_manifest_is_not_parsed(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text() + " " * (1 << 20))
    with pytest.raises(json_files.MalformedError, match="more than 1,048,576 bytes"):
        manifest.read(path)


def test_a_copy_has_the_digest_of_its_content(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    expected = FileDigest(len(content), hashlib.sha256(content).hexdigest())
    assert manifest.copy(tmp_path / "a", tmp_path / "b") == expected
    assert manifest.digest(tmp_path / "b") == manifest.digest_of(content) == expected
    assert (tmp_path / "b").read_bytes() == content
