"""`vaeflow verify` passes honest runs of every kind: resumed, on replicas, with two optimizers, of codes."""

import json
import os
import signal
import time

import pytest

from tests.fixtures import code_prior_runs, tiny_runs, trained_runs
from tests.fixtures.commands import Command
from tests.fixtures.recorded_runs import edit
from vaeflow.commands import command_line
from vaeflow.commands.programs import train, verify
from vaeflow.training import run_loop

pytestmark = [pytest.mark.long, pytest.mark.slow]

HERE_ONLY = ("verify.replicas = False", "verify.evaluations = False")


def report(folder):
    """What `verification.json` says: the subjects of each verdict, and subject -> remark."""
    checks = json.loads((folder / "verification.json").read_text())["checks"]
    by_verdict = {}
    for check in checks:
        by_verdict.setdefault(check["verdict"], set()).add(check["subject"])
    return by_verdict, {check["subject"]: check["remark"] for check in checks}


def call(program, *flags, settings=()):
    """Runs a command in this process."""
    flags = [*flags, *(f"--gin_param={setting}" for setting in settings)]
    with tiny_runs.configuration_of_its_own(), tiny_runs.untraced():
        return command_line.main(program.COMMAND, flags)


class StopsAt:
    """Stands for `Pace`: cuts a loop into steps, and SIGTERM comes after one of them."""

    def __init__(self, step):
        self.step, self.trained = step, 0

    def __call__(self, strategy):
        return self

    def next_part(self, num_steps):
        return 1

    def next_ahead(self, num_steps, under_way):
        return 0

    def note(self, num_steps, seconds):
        self.trained += num_steps
        if self.trained == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)


def test_a_factor_vae_with_averages_and_streamed_data_that_was_stopped_in_mid_loop(tmp_path, monkeypatch):
    trained_runs.write_data(tmp_path / "data")
    text = trained_runs.SETTINGS.format(model="FactorVAE", data=tmp_path / "data")
    (tmp_path / "tiny.gin").write_text(text)
    settings = (
        "FactorVAE.discriminator_units = (8,)",
        "train.ema_decay = 0.9",
        "train.resident_data = False",
        "train.num_steps = 15",
        "Evaluation.every_steps = 5",
        "Checkpoints.every_steps = 5",
    )
    flags = [f"--gin_file={tmp_path}/tiny.gin", f"--workdir={tmp_path}/run"]
    with monkeypatch.context() as patched:
        patched.setattr(run_loop, "Pace", StopsAt(12))
        assert call(train, *flags, settings=settings) == 42
    assert call(train, *flags, settings=settings) == 0

    assert call(verify, f"--workdir={tmp_path}/run", settings=HERE_ONLY) == 0
    by_verdict, remarks = report(tmp_path / "run")
    assert by_verdict.keys() == {"verified"}
    # The checkpoint in the middle of a loop continues the totals of that loop.
    for steps in ("0 to 5", "10 to 15", "12 to 15"):
        assert remarks[f"steps {steps}, as it was run"].endswith("equal bits"), remarks
        assert f"steps {steps}, in float64" in remarks


@pytest.mark.processes
def test_a_run_on_two_replicas_and_an_evaluation_that_was_edited(tmp_path):
    """By real processes: the run, its repetition on two devices and on one, and the evaluation."""
    trained_runs.write_data(tmp_path / "data")
    (tmp_path / "tiny.gin").write_text(trained_runs.SETTINGS.format(model="VAE", data=tmp_path / "data"))
    for arguments in (
        ["train", "--gin_file=tiny.gin", "--workdir=run", "--virtual_devices=2"],
        ["evaluate", "--workdir=run"],
    ):
        finished = Command("vaeflow", arguments, tmp_path).finish()
        assert finished.code == 0, finished
    path = tmp_path / "run" / "evaluation.json"
    metrics = json.loads(path.read_text())["metrics"]
    edit(path, metrics=metrics | {"kl_nats[none]": metrics["kl_nats[none]"] * 0.9})

    finished = Command("vaeflow", ["verify", "--workdir=run"], tmp_path).finish(seconds=300)
    assert finished.code == 5, finished
    by_verdict, remarks = report(tmp_path / "run")
    assert by_verdict["differs"] == {"evaluation.json"}
    assert remarks["evaluation.json"].startswith("kl_nats[none] recorded as ")
    assert by_verdict.keys() == {"verified", "differs"}
    for steps in ("0 to 5", "10 to 15"):
        assert remarks[f"steps {steps}, as it was run"].endswith("equal bits")
        assert f"steps {steps}, on 1 replica" in remarks
        assert f"steps {steps}, in float64" in remarks


@pytest.mark.tokenizers
def test_a_tokenizer_and_a_prior_over_its_codes(tmp_path):
    trained_runs.write_data(tmp_path / "data")
    tokenizer = code_prior_runs.tokenizer(tmp_path, tmp_path / "data")
    prior = code_prior_runs.prior(tmp_path, tokenizer)
    for folder in (tokenizer, prior):
        assert call(verify, f"--workdir={folder}", settings=HERE_ONLY) == 0
        by_verdict, remarks = report(folder)
        assert by_verdict.keys() == {"verified"}
        # The steps end at the last checkpoint, so the weights are compared too.
        assert remarks["steps 2 to 4, as it was run"].endswith("equal bits")
        assert "steps 2 to 4, in float64" in remarks
