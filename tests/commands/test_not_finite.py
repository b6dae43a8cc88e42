"""What is not finite is neither saved nor reported: code 3."""

import math
import re

import pytest

from tests.fixtures import tiny_runs, trained_runs
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.commands import command_line, programs

# One step leads to weights that are not finite, though loss and gradient of that step are.
TOO_FAR = (
    "train.optimizer = @RMSprop",
    "RMSprop.learning_rate = 1e37",
    "RMSprop.rho = 0.999999",
    "train.num_steps = 1",
)


def run(name, *flags):
    """Runs a command in this process, and returns its exit code."""
    with tiny_runs.configuration_of_its_own():
        return command_line.main(programs.load(name), list(flags))


def train(folder, *parameters):
    trained_runs.write_data(folder / "data")
    settings = trained_runs.SETTINGS.format(model="VAE", data=folder / "data")
    (folder / "tiny.gin").write_text(settings)
    parameters = [f"--gin_param={parameter}" for parameter in parameters]
    return run("train", f"--gin_file={folder}/tiny.gin", f"--workdir={folder}/run", *parameters)


@pytest.mark.long
@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ("[]", r"the weights \S+ are not finite"),
        ("[@Checkpoints()]", r"model/\d+ is not finite"),
        ("[@Evaluation()]", r"the evaluation after step 1 gives \w+ = (nan|inf)"),
    ],
)
def test_weights_that_the_last_step_made_infinite(tmp_path, capsys, callbacks, message):
    """The loss of the next step would have shown it, but there is none."""
    assert train(tmp_path, *TOO_FAR, f"train.callbacks = {callbacks}") == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert re.search(message, line)
    assert not (tmp_path / "run" / "result.json").exists()
    assert not list(tmp_path.glob("run/checkpoints/*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return trained_runs.trained_folder(tmp_path_factory.mktemp("finished"))


@pytest.mark.slow
def test_an_evaluation_that_is_not_finite_is_not_written(finished, monkeypatch, capsys):
    monkeypatch.setattr(Evaluator, "evaluate", lambda self: {"negative_elbo": math.nan, "kl": 1.0})
    assert run("evaluate", f"--workdir={finished}", "--gin_param=evaluate.num_samples = []") == 3
    assert "gives negative_elbo_nats = nan" in capsys.readouterr().err
    assert not (finished / "evaluation.json").exists()
