"""Crash roulette with a GAN: both nets, both optimizers, quantizer, averages and adaptive weight go on.

python -m pytest -m roulette tests/faults/test_roulette_of_gans.py      # 20 kills on one replica, 20 on two
"""

import pytest

from tests.fixtures import gan_runs
from tests.fixtures.roulette import play

pytestmark = [pytest.mark.processes, pytest.mark.slow]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`Runs` of a VQGAN."""
    return gan_runs.make(tmp_path_factory.mktemp("gans"))


def test_three_kills(runs, completes):
    play(runs, completes, 3, 60, 1)
    assert_was_adversarial(runs, "3 kills")


@pytest.mark.roulette
@pytest.mark.parametrize("replicas", [1, 2])
def test_twenty_kills(runs, completes, replicas):
    flag = f"--virtual_devices={replicas}"
    play(runs, completes, 20, 300, replicas, flag)
    assert_was_adversarial(runs, f"20 kills {flag.strip('-')}")


def assert_was_adversarial(runs, name):
    """The discriminator began to have a say, and changes."""
    lines = list(runs.lines(name).values())
    weights = [line["train/adversarial_weight"] for line in lines]
    assert weights[0] == 0.0
    assert min(weights[3:]) > 0.0
    assert len({line["train/discriminator_loss"] for line in lines}) == len(lines)
