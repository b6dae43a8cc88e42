"""A search by Optuna in real processes, killed in the middle; bad runs are ended early."""

import csv
import json
import signal
import subprocess
import sys

import pytest

from tests.fixtures import trained_runs
from tests.fixtures.commands import REPOSITORY, Command
from vaeflow.commands.studies.search import OptunaSearch
from vaeflow.commands.studies.search.space import parse
from vaeflow.errors import Preempted
from vaeflow.runs.checkpoints import CheckpointStore

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.roulette]
pytest.importorskip("optuna")

SPACE = {"Adam.learning_rate": ("choice", (1e-9, 1e-3)), "VAE.num_latents": ("int", 2, 40)}
METRIC = "evaluation/negative_elbo"
SEARCH = f"""
study.space = {SPACE}
study.search = @OptunaSearch()
OptunaSearch.metric = '{METRIC}'
OptunaSearch.num_trials = 3
OptunaSearch.pruner = 'ThresholdPruner'
OptunaSearch.pruner_settings = {{'upper': 44.93, 'n_warmup_steps': 20}}
train.optimizer = @Adam
"""
BAD = "learning_rate=1e-09"


# A process of a search whose runs end at once; it begins when something comes to its stdin.
SEARCHER = """
import pathlib, sys, time
from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.search import OptunaSearch
from vaeflow.commands.studies.search.space import parse
folder = pathlib.Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
search = OptunaSearch("loss", 16, storage=sys.argv[2]).begin(folder, parse({"A.x": ("log", 1, 2)}), (0,))
for run in search.runs():
    time.sleep(0.2)
    search.settle(Outcome(run, "done", {"metrics": {"loss": 1.0}}), folder)
    print(run.index, flush=True)
"""


class Search:
    """A search in a folder, which is that of its processes."""

    def __init__(self, folder):
        self.folder = folder
        text = trained_runs.settings(
            folder,
            ("VAE.num_latents = 3\n", ""),
            ("num_steps = 20", "num_steps = 60"),
            ("@Checkpoints()]", "@Checkpoints(), @Pause()]"),
        )
        (folder / "s.gin").write_text(text + SEARCH)

    def start(self, pause_seconds):
        """Starts it; each run waits for so long at each log, every five steps."""
        arguments = ["--gin_file=s.gin", "--plugin=pause_plugin", "--workdir=study"]
        return Command("launch.study", arguments, self.folder, {"PAUSE_SECONDS": str(pause_seconds)})

    def rows(self):
        """The rows of the table: name of the run -> row."""
        with (self.folder / "study" / "study_runs.csv").open() as file:
            return {row["run"]: row for row in csv.DictReader(file)}

    def steps(self, name):
        """The steps of a run's checkpoints."""
        return CheckpointStore(self.folder / "study" / "runs" / name / "checkpoints").steps()


def proposals(folder):
    """The names of the runs of an undisturbed search, of whose trials the first ten are random."""
    folder.mkdir()
    search = OptunaSearch(METRIC, num_trials=3, storage="journal").begin(folder, parse(SPACE), (0,))
    return [run.name for run in search.runs()]


def test_a_killed_search_resumes_its_trial_and_abandons_bad_runs(tmp_path):
    names = proposals(tmp_path / "undisturbed")
    bad = [name for name in names if BAD in name]
    assert 0 < len(bad) < 3
    search = Search(tmp_path)

    command = search.start(1)
    command.wait_until(lambda: search.steps(names[0])[-1:] == [10], 200)
    command.kill()
    assert command.finish().code == -signal.SIGKILL

    finished = search.start(0.7).finish(400)
    assert finished.code == 0, finished
    environment = tmp_path / "study" / "runs" / names[0] / "environment.json"
    assert json.loads(environment.read_text())["resumed"] == "at step 10"

    rows = search.rows()
    assert list(rows) == names
    for name, row in rows.items():
        assert row["state"] == ("abandoned" if name in bad else "done")
        assert row["exit code"] == str(Preempted.exit_code if name in bad else 0)
    for name in bad:
        assert 20 <= search.steps(name)[-1] < 60
    assert f"{3 - len(bad)} of 3 runs are done" in finished.out


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_processes_that_share_a_search_carry_out_each_trial_once(tmp_path, storage):
    command = [sys.executable, "-c", SEARCHER, str(tmp_path), storage]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": REPOSITORY, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.stdin.write("go\n")
            process.stdin.flush()
        carried_out = [process.communicate(timeout=200)[0].split() for process in (one, other)]
    assert sorted(map(int, carried_out[0] + carried_out[1])) == list(range(16))
    assert all(carried_out)
