"""The record of a run's data, and what happens when the data differs from it."""

import pytest

from vaeflow.errors import ConfigurationError
from vaeflow.runs import data_record

KNOWN = {"train": "40 images of 8 x 8 x 1, uint8, content 1f", "evaluation": "4 images"}


def test_the_same_data_passes(tmp_path):
    data_record.write(tmp_path, KNOWN)
    data_record.check(tmp_path, KNOWN, allow_change=False)


@pytest.mark.parametrize("found", [KNOWN | {"train": "55 images"}, {"train": KNOWN["train"]}])
def test_other_data_is_refused_and_shown(tmp_path, found):
    data_record.write(tmp_path, KNOWN)
    with pytest.raises(ConfigurationError, match=r"has changed .* became .*`--allow_config_change`"):
        data_record.check(tmp_path, found, allow_change=False)


def test_a_flag_allows_it_with_a_warning(tmp_path, caplog):
    data_record.write(tmp_path, KNOWN)
    data_record.check(tmp_path, KNOWN | {"train": "55 images"}, allow_change=True)
    assert "train: 40 images of 8 x 8 x 1, uint8, content 1f became 55 images" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", '{"splits": 5}', "{"])
def test_a_damaged_record_only_warns(tmp_path, caplog, content):
    (tmp_path / data_record.NAME).write_text(content)
    data_record.check(tmp_path, KNOWN, allow_change=False)
    assert "whether the data has changed is unknown" in caplog.text


def test_a_folder_of_an_older_version_passes(tmp_path):
    data_record.check(tmp_path, KNOWN, allow_change=False)
