"""The comparison of families: its configurations, its commands and its table."""

import json
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
    assert f"--gin_file={run.HERE}/iwae_5.gin" in train
    assert "--gin_param=train.seed = 0" in train
    assert "--checkpoint=last" in evaluate
    assert train[-1] == evaluate[-1] == f"--workdir={tmp_path}/runs/iwae_5-0"


def test_a_command_that_fails_ends_it(noted, tmp_path):
    arguments = [f"--runs={tmp_path}/runs", f"--results={tmp_path}", "--gin_param=stop"]
    assert run.main(arguments) == 42
    assert len(noted) == 1
    assert not (tmp_path / "table.md").exists()


def test_an_unknown_model_is_refused(noted, capsys):
    with pytest.raises(SystemExit):
        run.main(["--names=vae,iwea"])
    assert "no model iwea; there are vae, iwae_5," in capsys.readouterr().err
    assert not noted


def test_the_table_has_the_mean_and_the_range_of_the_seeds():
    records = [
        record("iwae_5-0", seconds=600, nll_is5000_nats=84.0),
        record("iwae_5-1", seconds=1200, nll_is5000_nats=84.5),
        record("vae-0"),
    ]
    assert run.table(records).splitlines()[2:] == [
        "| VAE | 1 | 90.00 | 85.00 | 25 | 10 min |",
        "| IWAE, 5 samples | 2 | 90.00 | 84.25 (84.00 to 84.50) | 25 | 15 (10 to 20) min |",
    ]


def test_the_published_table_is_that_of_the_records():
    records = [json.loads(path.read_text("utf-8")) for path in sorted(run.HERE.glob("*.json"))]
    published = run.HERE / "table.md"
    assert (published.read_text("utf-8") if published.exists() else "") == (
        run.table(records) if records else ""
    )
