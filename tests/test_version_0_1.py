"""What version 0.1 has left: work folders go on, plug-ins are told what is new.

The folder in tests/fixtures/version_0_1 is what revision 6f7516a wrote in 20 steps. The numbers below are
from its own evaluation, and from its own run of 40 steps.
"""

import json
import pathlib
import shutil

import pytest

from tests.fixtures import tiny_runs
from vaeflow.commands import command_line
from vaeflow.commands.programs import evaluate, train

NEGATIVE_ELBO = {20: 172.78623298022714, 40: 167.20343911624445}

OLD_MODEL = """
from vaeflow import registry
from vaeflow.models import VAE

@registry.model
class OldModel(VAE):
    def forward(self, images, training=False):
        return super().forward(images, training)
"""

OLD_PRIOR = """
from vaeflow import registry
from vaeflow.layers import Prior

@registry.prior
class OldPrior(Prior):
    def kl(self, mean, log_variance):
        return mean
"""


@pytest.fixture
def workdir(tmp_path):
    folder = pathlib.Path(__file__).parent / "fixtures/version_0_1"
    return shutil.copytree(folder, tmp_path / "run")


def run(command, workdir, *flags):
    with tiny_runs.configuration_of_its_own():
        return command_line.main(command.COMMAND, [f"--workdir={workdir}", *flags])


@pytest.mark.slow
def test_its_model_is_evaluated_to_the_same_numbers(workdir):
    assert run(evaluate, workdir) == 0
    metrics = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    assert metrics["negative_elbo_nats[none]"] == pytest.approx(NEGATIVE_ELBO[20], rel=1e-9)


@pytest.mark.long
def test_its_run_goes_on_to_where_it_would_have_ended(workdir):
    longer = ("--gin_param=train.num_steps = 40", "--allow_config_change")
    assert run(train, workdir, *longer) == 0
    result = json.loads((workdir / "result.json").read_text())
    assert result["evaluation/negative_elbo"] == pytest.approx(NEGATIVE_ELBO[40], rel=1e-9)


@pytest.mark.parametrize(
    ("plugin", "source", "message"),
    [
        ("old_model", OLD_MODEL, "OldModel.forward(images, training) is of vaeflow 0.1: write forward(self,"),
        ("old_prior", OLD_PRIOR, "OldPrior.kl is of vaeflow 0.1: a prior has one method, distribution(self,"),
    ],
)
def test_its_plugins_get_one_message(tmp_path, monkeypatch, capsys, plugin, source, message):
    (tmp_path / f"{plugin}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    assert run(train, tmp_path / "run", f"--plugin={plugin}", "--gin_file=vae.gin") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line for line in lines if message in line] == lines[-1:]
