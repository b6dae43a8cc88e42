"""A disk that is full, and a work folder that cannot be had."""

import re
import subprocess

import pytest

from tests.fixtures.commands import message

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]


def test_a_disk_that_fills_up_at_a_checkpoint_and_at_the_log(runs, completes):
    """Row 6. Written in place, the checkpoint of step 20 or the log would be left cut off under its name."""
    finished = runs.run("full", environment={"FAULT": "files cannot grow", "FAULT_STEP": 20})
    assert finished.code == 4
    assert (
        "error: runs/full/checkpoints/step-00000020 cannot be written (File too large); free some"
        in message(finished)
    )
    assert "File too large" in message(finished)
    assert runs.store("full").steps() == [10]
    assert runs.store("full").problem_with(10) is None
    assert not list(runs.workdir("full").rglob(".unfinished*"))

    finished = runs.run("full", environment={"FAULT": "log cannot grow"})
    assert finished.code == 4
    assert "error: runs/full/metrics.jsonl cannot be written (File too large); free some space" in message(
        finished
    )
    assert runs.store("full").steps() == [10]
    completes("full")


@pytest.fixture
def small_disk(runs):
    """A disk of 2 MB at `runs/small`; skipped where mounts are not allowed."""
    folder = runs.workdir("small")
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounts are not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_is_full(runs, completes, small_disk):
    """Row 6, where the system says ENOSPC."""
    finished = runs.run("small/run", environment={"FAULT": "disk full", "FAULT_STEP": 20})
    assert finished.code == 4
    assert re.search("cannot be written.*No space left on device", message(finished))
    assert runs.store("small/run").steps() == [10]
    assert runs.store("small/run").problem_with(10) is None
    assert not list(small_disk.rglob(".unfinished*"))
    (small_disk / "ballast").unlink()
    completes("small/run")


def refused(runs, name, reason, **more):
    finished = runs.run(name, **more)
    assert (finished.code, finished.out) == (4, "")
    assert re.fullmatch(
        f"launch.train: error: the work folder runs/{name} {reason}.*`--workdir`", message(finished)
    )


def test_a_folder_in_use_by_a_live_run(runs, completes):
    """Row 7. Without the lock two runs write to the same files."""
    process = runs.start("shared", environment={"PAUSE_SECONDS": 1})
    process.wait_until(lambda: runs.last_step("shared") == 10)
    refused(runs, "shared", "is in use by a live run")
    assert process.poll() is None
    assert runs.last_step("shared") < 60
    # The lock dies with its run.
    process.kill()
    process.finish()
    completes("shared")


def test_a_file_in_place_of_the_folder_and_folders_without_write_permission(runs):
    """Row 7. Without the claim they are found after the data was read, and the first steps trained."""
    runs.workdir("file").write_text("mine")
    refused(runs, "file", r"cannot be written \(it is a file\)")
    assert runs.workdir("file").read_text() == "mine"

    closed = runs.workdir("closed")
    closed.mkdir(mode=0o555)
    for name in ("closed", "closed/below"):
        refused(runs, name, r"cannot be written \(Permission denied\)", without_privileges=True)
    assert not list(closed.iterdir())
    # What refuses is the mode of the folder, not the lack of privileges.
    closed.chmod(0o755)
    assert runs.run("closed", without_privileges=True).code == 0
