"""The hierarchies of different depth: their commands, equal times, and the table."""

import json
import pathlib
import subprocess
import types

import pytest

from results.hierarchy import run
from tests.fixtures import tiny_runs
from vaeflow import config


@pytest.fixture
def noted(monkeypatch):
    """The command lines of vaeflow, none of which is run; a deeper hierarchy takes longer by its groups."""
    lines = []

    def note(command, check):
        lines.append(command[3:])
        if command[3] == "train":
            workdir = pathlib.Path(command[-1 if "trial" in command[-1] else -2].partition("=")[2])
            each = sum(run.GROUPS[workdir.name.removeprefix("trial_").partition("-")[0]])
            workdir.mkdir(parents=True)
            logged = [{"step": 25 * loop, "wall_seconds": 60.0 + 25 * each * loop} for loop in range(1, 5)]
            (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, logged)))
        return types.SimpleNamespace(returncode=42 if "--gin_param=stop" in command else 0)

    monkeypatch.setattr(subprocess, "run", note)
    return lines


def steps_of(line):
    (setting,) = [each for each in line if each.startswith("--gin_param=train.num_steps")]
    return int(setting.rpartition(" ")[2])


@pytest.mark.parametrize("name", run.GROUPS)
def test_a_configuration_is_accepted(name, tmp_path):
    options = types.SimpleNamespace(gin_param=[])
    settings = [
        each.removeprefix("--gin_param=") for each in run.train_command(name, tmp_path, 50, options)
        if each.startswith("--gin_param=")
    ]  # fmt: skip
    with tiny_runs.configuration_of_its_own():
        assert config.load("train", ["hierarchical_vae.gin"], settings).warnings == ()


def test_each_depth_is_measured_and_then_trained_for_the_same_time(noted, tmp_path):
    assert run.main([f"--runs={tmp_path}/runs", f"--results={tmp_path}", "--seconds=2000"]) == 0
    assert [line[0] for line in noted] == ["train"] * 4 + ["train", "evaluate", "record"] * 4
    trials, trained = noted[:4], noted[4::3]
    assert {steps_of(line) for line in trials} == {100}
    # A group takes a second a step.
    assert [steps_of(line) for line in trained] == [1000, 500, 250, 125]
    assert "--gin_param=TopDownDecoder.num_groups = (2, 4, 6, 4)" in trained[-1]
    assert "--gin_param=train.seed = 0" in trained[-1]


def test_a_repeated_command_measures_nothing_again(noted, tmp_path):
    arguments = [f"--runs={tmp_path}/runs", f"--results={tmp_path}", "--names=groups_4", "--seconds=1000"]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "steps.json").write_text('{"groups_4": {"num_steps": 75}}')
    assert run.main(arguments) == 0
    assert [line[0] for line in noted] == ["train", "evaluate", "record"]
    assert steps_of(noted[0]) == 75


def test_a_command_that_fails_ends_it(noted, tmp_path):
    arguments = [f"--runs={tmp_path}/runs", f"--results={tmp_path}", "--gin_param=stop"]
    assert run.main(arguments) == 42
    assert len(noted) == 1


def test_the_table_has_a_row_for_each_depth_in_order():
    def record(name, bits):
        metrics = {"bits_per_dimension_is1": bits, "negative_elbo_nats": 9000.0, "kl_nats": 500.0}
        measured = {f"{each}[none]": value for each, value in metrics.items()}
        evaluation = {"metrics": measured}
        return {"name": name, "seconds": 900, "metrics": {"step": 1200}, "evaluation": evaluation}

    table = run.table([record("groups_16-0", 4.5), record("groups_2-0", 5.25)]).splitlines()
    assert table[2:] == [
        "| 2 | 1, 0, 0, 1 | 1 | 1,200 | 5.250 | 9,000 | 500 | 15 min |",
        "| 16 | 2, 4, 6, 4 | 1 | 1,200 | 4.500 | 9,000 | 500 | 15 min |",
    ]
