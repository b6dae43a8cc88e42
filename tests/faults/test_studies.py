"""A study in real processes, killed at bad moments; its runs end with the bits of undisturbed ones."""

import json
import os
import pathlib
import signal

import pytest

from tests.fixtures import trained_runs
from tests.fixtures.commands import Command

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

GRID = """
study.grid = [{"VAE.num_latents": (2, 3)}, {"VAE.num_latents": (4,), "DenseEncoder.units": ("none",)}]
"""
FIRST, SECOND = "000_VAE.num_latents=2_seed=0", "001_VAE.num_latents=3_seed=0"
FAILING = "002_VAE.num_latents=4_DenseEncoder.units=none_seed=0"


class Study:
    """A study in a folder, which is that of its processes."""

    def __init__(self, folder):
        self.folder = folder
        text = trained_runs.settings(
            folder,
            ("VAE.num_latents = 3\n", ""),
            ("num_steps = 20", "num_steps = 30"),
            ("@Checkpoints()]", "@Checkpoints(), @Pause()]"),
        )
        (folder / "s.gin").write_text(text + GRID)

    def start(self, pause_seconds):
        """Starts it; each run waits for so long at each log."""
        return self._start("launch.study", pause_seconds, "--workdir=study")

    def digest_of_an_undisturbed_run(self, num_latents):
        """Trains a run by itself, and returns the SHA-256 of its weights."""
        flags = [f"--workdir=alone-{num_latents}", f"--gin_param=VAE.num_latents = {num_latents}"]
        finished = self._start("launch.train", 0, *flags).finish()
        assert finished.code == 0, finished
        result = self.folder / f"alone-{num_latents}" / "result.json"
        return json.loads(result.read_text())["weights_sha256"]

    def _start(self, module, pause_seconds, *flags):
        arguments = ["--gin_file=s.gin", "--plugin=pause_plugin", *flags]
        return Command(module, arguments, self.folder, {"PAUSE_SECONDS": str(pause_seconds)})

    def has_checkpoint(self, name):
        """Whether a run has saved its first state."""
        return (self.folder / "study" / "runs" / name / "checkpoints" / "step-00000010").exists()

    def digest(self, name):
        """The SHA-256 of the weights in a run's record."""
        record = json.loads((self.folder / "study" / "records" / f"{name}.json").read_text())
        return record["weights_sha256"]

    def resumed(self, name):
        """Where the last start of a run went on."""
        environment = self.folder / "study" / "runs" / name / "environment.json"
        return json.loads(environment.read_text())["resumed"]

    def log(self, name):
        """The output of a run, of all its starts."""
        return (self.folder / "study" / "logs" / f"{name}.log").read_text()


def training_of(name):
    """The number of the process that trains a run."""
    [found] = [
        int(path.name)
        for path in pathlib.Path("/proc").glob("[0-9]*")
        if f"/runs/{name}\0".encode() in (path / "cmdline").read_bytes()
    ]
    return found


def test_kills_of_the_study_and_of_a_run_change_no_bit(tmp_path):
    study = Study(tmp_path)

    # Its run dies with it: `finish` finds no process of it.
    command = study.start(1)
    command.wait_until(lambda: study.has_checkpoint(FIRST), 100)
    command.kill()
    assert command.finish().code == -signal.SIGKILL

    # The first run is resumed; the second is killed, which does not stop the third.
    command = study.start(1)
    command.wait_until(lambda: study.has_checkpoint(SECOND), 100)
    os.kill(training_of(SECOND), signal.SIGKILL)
    finished = command.finish(100)
    assert finished.code == 2, finished
    assert study.resumed(FIRST) == "at step 10"
    assert f"{SECOND} failed with code 137: ended by SIGKILL" in finished.out
    assert f"{FAILING} failed with code 2 (configuration): " in finished.out
    assert "1 of 3 runs are done" in finished.out

    # The second run goes on; the third would fail again, and is only named.
    starts = study.log(FAILING)
    finished = study.start(0).finish(100)
    assert finished.code == 2, finished
    assert "2 of 3 runs are done" in finished.out
    assert f"{FAILING} failed with code 2 (configuration): " in finished.out
    assert study.log(FAILING) == starts
    assert study.resumed(SECOND) == "at step 10"

    assert study.digest(FIRST) == study.digest_of_an_undisturbed_run(2)
    assert study.digest(SECOND) == study.digest_of_an_undisturbed_run(3)


def test_a_signal_to_the_study_saves_its_run_and_a_second_study_is_refused(tmp_path):
    study = Study(tmp_path)
    command = study.start(1)
    command.wait_until(lambda: study.has_checkpoint(FIRST), 100)
    refused = study.start(0).finish(100)
    assert refused.code == 4
    assert "the study's folder study is in use by a live run" in refused.error
    command.send_signal(signal.SIGTERM)
    finished = command.finish(100)
    assert finished.code == 42, finished
    assert f"{FIRST} stopped with code 42 (preempted)" in finished.out
    assert "0 of 3 runs are done" in finished.out


def test_the_tasks_of_a_job_array_share_the_runs_and_a_later_start_makes_the_table(tmp_path):
    """Each task trains in its own process: what counts is which runs it takes, beside the other."""
    gin = Study(tmp_path).folder / "s.gin"
    gin.write_text(
        gin.read_text().replace(GRID, "study.grid = {'VAE.num_latents': (2, 3)}\nstudy.seeds = 2\n")
    )
    flags = ["--gin_file=s.gin", "--workdir=study", "--plugin=pause_plugin"]
    flags += ["--plugin=tests.fixtures.study_places", "--gin_param=study.place = @InThisProcess()"]
    array = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "2"}
    array |= {"SLURM_ARRAY_TASK_STEP": "1", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"}

    tasks = [
        Command("launch.study", flags, tmp_path, {**array, "SLURM_ARRAY_TASK_ID": task})
        for task in ("1", "2")
    ]
    ended = [task.finish() for task in tasks]
    assert [each.code for each in ended] == [0, 0], ended
    assert all("2 of 2 runs are done" in each.out for each in ended), ended
    records = tmp_path / "study" / "records"
    assert len(list(records.glob("00*.json"))) == 4
    assert not (tmp_path / "study" / "study.md").exists()

    finished = Command("launch.study", flags, tmp_path).finish()
    assert finished.code == 0, finished
    assert "4 of 4 runs are done" in finished.out
    assert (tmp_path / "study" / "study.md").exists()
