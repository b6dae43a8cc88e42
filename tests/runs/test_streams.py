"""Writing to the standard streams never fails, whatever has become of them."""

import os
import pathlib
import subprocess
import sys

import pytest

from vaeflow.runs import streams

pytestmark = pytest.mark.processes

REPOSITORY = pathlib.Path(__file__).parents[2]
# Opens a file first, which would get the number of a closed stream, and writes more than a pipe holds.
PROGRAM = """
import faulthandler, logging, sys
from vaeflow.runs import streams

streams.protect()
with open("data", "w") as data:
    for line in range(20_000):
        print("to stdout", line)
        print("to stderr", line, file=sys.stderr)
    logging.warning("a warning")
    streams.write_error("past Python")
    sys.stdin.read()
    data.write("whole")
"""


def run(folder, program=PROGRAM, **options):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | options.pop("env", {})
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, timeout=60, **options)


def closed(*descriptors):
    return {"preexec_fn": lambda: [os.close(each) for each in descriptors]}


@pytest.mark.parametrize("descriptors", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_from_the_start(tmp_path, descriptors):
    """Without the null device a stream is None, or what is meant for it is written into the data."""
    assert run(tmp_path, **closed(*descriptors)).returncode == 0
    assert (tmp_path / "data").read_text() == "whole"


def test_nobody_reads(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run(tmp_path, stdout=writer, stderr=writer).returncode == 0
    finally:
        os.close(writer)
    assert (tmp_path / "data").read_text() == "whole"


def test_a_full_disk(tmp_path):
    with pathlib.Path("/dev/full").open("wb") as full:
        assert run(tmp_path, stdout=full, stderr=full).returncode == 0
    assert (tmp_path / "data").read_text() == "whole"


def test_whole_streams_lose_nothing(tmp_path):
    finished = run(tmp_path)
    assert finished.stdout.splitlines()[-1] == b"to stdout 19999"
    assert len(finished.stderr.splitlines()) == 20_002


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", b"? x?\n"), ("latin-1", b"\xe9 x?\n")])
def test_what_the_encoding_lacks_is_replaced(tmp_path, encoding, shown):
    program = "from vaeflow.runs import streams; streams.protect(); print('\\xe9 x\\u2026')"
    finished = run(tmp_path, program, env={"PYTHONIOENCODING": encoding})
    assert (finished.returncode, finished.stdout) == (0, shown)


def test_errors_are_held_back_unless_something_fails(capfd):
    with streams.errors_held_back():
        os.write(2, b"a greeting")
    assert capfd.readouterr().err == ""
    with pytest.raises(ImportError):
        fail_to_import()
    assert capfd.readouterr().err == "the reason"


def fail_to_import():
    with streams.errors_held_back():
        os.write(2, b"the reason")
        raise ImportError


def test_a_last_word_is_not_held_back(capfd):
    with streams.errors_held_back():
        streams.write_error("stopped")
    assert capfd.readouterr().err == "stopped"
