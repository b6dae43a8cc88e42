"""A folder that is filled in many goes: what the records of its shards must hold."""

import json

import pytest

from tests.fixtures import encoded_folders
from vaeflow.datasets.encoded import manifest
from vaeflow.datasets.encoded.folder import EncodedFolder

RECORD = "train/00001-of-00003.json"


@pytest.fixture
def folder(tmp_path):
    return encoded_folders.write_latents(tmp_path)


def again(folder):
    """The same folder, as the next command finds it."""
    return EncodedFolder(folder.path, folder.plan)


def test_records_as_they_were_written_are_accepted(folder):
    found = again(folder)
    assert found.missing() == []
    assert all(found.is_intact(*shard) for shard in found.shards())


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["num_examples"], 2, "it is of 2 examples, and the shard has 3"),
        (["moments"], {}, "it lacks 'moments/z'"),
        (["moments", "z", "count"], 0, "not those of 4 channels of 18 numbers"),
        (["moments", "z", "squares"], [1.0], "not those of 4 channels"),
        (["moments", "z", "squares"], [-1.0] * 4, "not those of 4 channels"),
        (["moments", "z", "mean"], [], "not those of 4 channels"),
        (["moments", "z", "variances"], ["x"] * 4, "its 'moments/z/variances' must be a list of numbers"),
    ],
)
def test_a_shard_with_a_damaged_record_is_written_again(folder, caplog, keys, value, message):
    """Otherwise the manifest would hold other figures than the latents have, or null."""
    path = folder.path / RECORD
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))
    assert again(folder).missing() == [("train", 1)]
    assert message in caplog.text


def test_a_shard_of_another_size_than_its_record_says_is_written_again(folder, caplog):
    path = folder.path / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_bytes": 7}))
    assert not again(folder).is_intact("train", 1)
    assert "is written again: it is missing or damaged" in caplog.text


def test_the_manifest_of_a_folder_that_was_begun_anew_is_the_same(folder):
    before = (folder.path / manifest.NAME).read_text()
    found = again(folder)
    assert found.missing() == []
    found.finish("/runs/tokenizer")
    assert (folder.path / manifest.NAME).read_text() == before
