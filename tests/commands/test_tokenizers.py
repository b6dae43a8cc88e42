"""The tokenizer that a manifest names: a path that anybody may have written."""

import json
import types

import pytest

from tests.fixtures import encoded_folders
from vaeflow.commands import tokenizers
from vaeflow.datasets import Codes
from vaeflow.errors import ConfigurationError


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("x" * 300, r"x+…x+ holds no run \(one of its names has 300 bytes"),
        ("a\0b", r"a\\x00b holds no run \(it holds a NUL character"),
        ("", r" holds no run \(it is empty\)"),
        ("hf://a/b", r"hf://a/b holds no run \(hf:// is not for a file"),
        ("/dev/null/x", "/dev/null/x holds no run"),
        ("nowhere", "nowhere holds no run, and no tokenizer of the codes in"),
    ],
)
def test_what_names_no_work_folder_is_refused_in_one_line(tmp_path, monkeypatch, named, reason):
    """A name that is too long was a traceback, and none at all meant the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.gin").touch()
    path = encoded_folders.write_codes(tmp_path / "encoded").path / "manifest.json"
    content = json.loads(path.read_text())
    content["tokenizer"]["workdir"] = named
    path.write_text(json.dumps(content))
    run = types.SimpleNamespace(
        dataset=Codes(str(tmp_path / "encoded")), model=types.SimpleNamespace(takes="codes")
    )
    with pytest.raises(ConfigurationError, match=reason):
        tokenizers.restored_for(run, None)
