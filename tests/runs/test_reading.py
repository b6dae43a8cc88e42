"""Files that may come from anybody."""

import os

import pytest

from vaeflow.runs import reading


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    """`open` would wait for somebody to write."""
    os.mkfifo(tmp_path / "result.json")
    with pytest.raises(OSError, match="no regular file"), reading.opened(tmp_path / "result.json"):
        pytest.fail("opened")


def test_a_byte_that_is_no_utf8_is_named_by_its_line(tmp_path):
    (tmp_path / "a").write_bytes("é\nb\n\xff\n".encode("latin-1").replace(b"\xe9", "é".encode()))
    with pytest.raises(ValueError, match="line 3 is not UTF-8"):
        reading.read_text(tmp_path / "a")
