"""What the autoencoders of latent diffusion need: the cases, their processes, the table."""

import json
import subprocess
import types

import pytest

from results.paper_scale import run

FOUND = {"weights": 2**30, "optimizer": 2**31, "working": 3 * 10**8, "flops": 2 * 10**12}
MEASURED = {"measured_working": 4 * 10**8, "core_seconds": 3.25}


@pytest.fixture
def requests(monkeypatch):
    """The requests, none of which is computed."""
    made = []

    def note(command, env, **_):
        request = json.loads(command[-1])
        assert command[1:3] == ["-m", "results.paper_scale.step"]
        assert "mmap_threshold=131072" in env["GLIBC_TUNABLES"]
        made.append(request)
        return types.SimpleNamespace(stdout=json.dumps(FOUND | (MEASURED if request["measured"] else {})))

    monkeypatch.setattr(subprocess, "run", note)
    return made


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"Before.\n{run.BEGIN}old\n{run.END}After.\n", encoding="utf-8")
    return path


def test_every_step_is_recorded_once(requests, page, tmp_path):
    arguments = ["--sizes=32,64", f"--results={tmp_path}", f"--page={page}"]
    assert run.main(arguments) == 0
    assert len(requests) == 16
    assert {each["size"] for each in requests if each["measured"]} == {32, 64}
    (tmp_path / "f16-64-recompute.json").unlink()
    requests.clear()
    run.main(arguments)
    expected = {"setting": "f16", "recompute": True, "size": 64, "batch_size": 1, "measured": True}
    assert requests == [expected]


def test_the_tables_take_their_place_in_the_page(requests, page, tmp_path):
    run.main(["--sizes=32", "--rate=4e12", f"--results={tmp_path}", f"--page={page}"])
    lines = page.read_text("utf-8").splitlines()
    assert "| f8, bfloat16 | yes | 1.0 GiB | 2.0 GiB | 0.3 GiB | 3.3 GiB | 2.0 | 0.50 s |" in lines
    assert "| f16, 32x32 | no | 300 MB | 400 MB | 0.75 | 2,000 | 3.2 |" in lines
    assert (lines[0], lines[-1]) == ("Before.", "After.")
    # Two lines of the page and two markers; two heads and an empty line; of each net four and two steps.
    assert len(lines) == 4 + 5 + 2 * (4 + 2)


def test_the_page_has_the_tables_of_the_records_that_are_there():
    records = [json.loads(path.read_text("utf-8")) for path in sorted(run.HERE.glob("*.json"))]
    tables = run.PAGE.read_text("utf-8").partition(run.BEGIN)[2].partition(run.END)[0]
    assert tables == run.table(records, 1e14)
