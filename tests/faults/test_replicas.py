"""A run that goes on with another number of replicas, and has fewer examples than a batch holds."""

import signal

import pytest

from tests.fixtures import gan_runs

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

FLAGS = [
    "--gin_param=train.precision = 'float64'",
    "--gin_param=train.batch_size = 64",
    "--gin_param=FaultyImages.num_train = 37",
    "--gin_param=Evaluation.every_steps = 10",
    "--gin_param=train.callbacks = [@Evaluation(), @Fault(), @Checkpoints()]",
]
OF_GAN = ["--gin_param=train.steps_per_loop = 10", "--gin_param=Checkpoints.every_steps = 10"]


def test_one_then_two_then_four_then_one_again(runs):
    """Rows 9 and 14. A slot of the optimizer that is not restored, a part of a batch or noise that depends on
    the replicas, padding that is counted: each is above the tolerance, of float64, at the next log."""
    one = goes_on(runs, FLAGS)
    assert abs(one[60]["evaluation/negative_elbo"] - one[10]["evaluation/negative_elbo"]) > 0.01


@pytest.mark.tokenizers
def test_a_gan_goes_on_too(tmp_path):
    """With its two optimizers, adaptive weight, codes that begin anew, averages and a frozen net."""
    one = goes_on(gan_runs.make(tmp_path), FLAGS + OF_GAN)
    weights = [line["train/adversarial_weight"] for line in one.values()]
    assert weights[0] == 0.0
    assert min(weights[1:]) > 0.0


def goes_on(runs, flags):
    """Compares a run with one that is killed and goes on with other replicas; returns its lines."""
    assert runs.start("on one", *flags).finish(300).code == 0
    for replicas, step in ((1, 20), (2, 30), (4, 50)):
        fault = {"FAULT": "kill", "FAULT_STEP": step}
        process = runs.start("on many", f"--virtual_devices={replicas}", *flags, environment=fault)
        finished = process.finish(300)
        assert finished.code == -signal.SIGKILL, finished
        assert runs.last_step("on many") == step
        assert runs.store("on many").steps()[-1] == step
        assert runs.store("on many").record(step)["totals"].num_steps == 10
    assert runs.start("on many", *flags).finish(300).code == 0
    one, many = runs.lines("on one"), runs.lines("on many")
    assert list(one) == list(many) == [10, 20, 30, 40, 50, 60]
    for step, line in one.items():
        assert {"train/loss", "evaluation/negative_elbo"} < line.keys()
        assert many[step] == pytest.approx(line, rel=1e-9, abs=1e-12), step
    return one
