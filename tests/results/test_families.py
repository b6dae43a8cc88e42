"""The comparison of families: its configurations, its commands and its table."""

import os
import subprocess
import types

import pytest

from results.families import run
from tests.fixtures import tiny_runs
from vaeflow import config

MEASURED = {"negative_elbo_nats": 90.0, "nll_is5000_nats": 85.0, "active_units": 25.0}


def record(name, seconds=600, **metrics):
    measured = {f"{metric}[dynamic]": value for metric, value in (MEASURED | metrics).items()}
    return {"name": name, "seconds": seconds, "evaluation": {"metrics": measured}}


@pytest.fixture
def noted(monkeypatch):
    """The command lines of vaeflow, none of which is run; one that is told to stop fails."""
    lines = []

    def note(command, check):
        lines.append(command[3:])
        return types.SimpleNamespace(returncode=42 if "--gin_param=stop" in command else 0)

    monkeypatch.setattr(subprocess, "run", note)
    return lines


@pytest.mark.parametrize("name", run.MODELS)
def test_a_configuration_is_accepted_as_it_is(name, tmp_path):
    with tiny_runs.configuration_of_its_own():
        data = [f"MNIST.folder = {str(tmp_path)!r}"]
        assert config.load("train", [str(run.HERE / f"{name}.gin")], data).warnings == ()


def test_each_model_is_trained_evaluated_and_recorded_with_each_seed(noted, tmp_path):
    assert run.main([f"--runs={tmp_path}/runs", f"--results={tmp_path}"]) == 0
    assert [line[0] for line in noted] == ["train", "evaluate", "record"] * 10
    assert len({line[-1] for line in noted}) == 10
    train, evaluate, _ = noted[3:6]
    assert f"--gin_file={os.path.relpath(run.HERE)}/iwae_5.gin" in train
    assert "--gin_param=train.seed = 0" in train
    assert "--checkpoint=last" in evaluate
    assert train[-1] == evaluate[-1] == f"--workdir={tmp_path}/runs/iwae_5-0"


def test_a_command_that_fails_ends_it(noted, tmp_path):
    arguments = [f"--runs={tmp_path}/runs", f"--results={tmp_path}", "--gin_param=stop"]
    assert run.main(arguments) == 42
    assert len(noted) == 1


def test_an_unknown_model_is_refused(noted, capsys):
    with pytest.raises(SystemExit):
        run.main(["--names=vae,iwea"])
    assert "no model iwea; there are vae, iwae_5," in capsys.readouterr().err
    assert not noted


def test_the_table_has_mean_deviation_and_interval_of_the_seeds():
    """Student's t of 1 degree of freedom is 12.706, and 12.706 · 0.3536 / √2 = 3.18."""
    records = [
        record("iwae_5-0", seconds=600, nll_is5000_nats=84.0),
        record("iwae_5-1", seconds=1200, nll_is5000_nats=84.5),
        record("vae-0"),
    ]
    table = run.table(records).splitlines()
    assert table[2] == "| VAE | 1 | 90 | 85 | 25 | 10 min |"
    assert table[3] == (
        "| IWAE, 5 samples | 2 | 90 ± 0 (90 to 90) | 84.25 ± 0.35 (81.07 to 87.43) | 25 ± 0 (25 to 25) | "
        "15 min (10 min, 20 min) |"
    )
