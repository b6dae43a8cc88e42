"""The command that starts several workers on this machine: what they run, and the flags it refuses."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.processes

REPOSITORY = pathlib.Path(__file__).parents[2]

# Python imports this module when it starts: a worker prints its command line and ends.
STAND_IN = """
import json, os, sys
if "TF_CONFIG" in os.environ:
    print(json.dumps(sys.orig_argv[1:]), flush=True)
    os._exit(42)
"""


def test_the_workers_run_vaeflow_train_with_the_flags_after_the_dashes(tmp_path):
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "sitecustomize.py").write_text(STAND_IN)
    paths = os.pathsep.join([str(tmp_path / "stand_in"), str(REPOSITORY)])
    arguments = ["--num_workers=2", "--max_restarts=0", "--", "--gin_file=x.gin", "--help", "--", "a b"]
    done = subprocess.run(
        [sys.executable, "-m", "launch.local_cluster", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (42, "")
    train = ["vaeflow", "train", "--gin_file=x.gin", "--help", "--", "a b"]
    expected = json.dumps(["-P", "-m", "vaeflow.runs.interpreter", *train])
    assert sorted(done.stdout.splitlines()) == [f"[worker 0] {expected}", f"[worker 1] {expected}"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num_workers=1"], "--num_workers=1"),
        (["--max_restarts=-1"], "--max_restarts=-1"),
        (["--gin_file=x.gin"], "unknown flag --gin_file"),
    ],
)
def test_wrong_flags_are_refused(arguments, expected):
    done = subprocess.run(
        [sys.executable, "-m", "launch.local_cluster", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
