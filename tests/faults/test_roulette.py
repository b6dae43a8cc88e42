"""Crash roulette: SIGKILLs at random moments, which must not leave a trace in the result.

python -m pytest -m roulette        # 20 kills of one run, 6 of a run of two workers, 8 of an export

All here with `vae.gin` at its own batch size, since small nets and batches hide a difference of bits.
"""

import functools
import hashlib
import random
import signal
import time

import numpy as np
import pytest

from tests.fixtures.commands import REPOSITORY, Command, Runs
from tests.fixtures.roulette import has_trained_past, play
from vaeflow.clusters.local import _free_ports
from vaeflow.devices.workers import Workers, to_tf_config

pytestmark = [pytest.mark.processes, pytest.mark.slow]

CHANGES = """
MNIST.folder = '.'
train.ema_decay = 0.99
train.steps_per_loop = 4
train.peer_seconds = 4
train.start_seconds = 25
train.callbacks = [@Evaluation(), @Images(), @Summaries(), @Fault(), @Checkpoints()]
Evaluation.every_steps = 20
Images.every_steps = 60
Checkpoints.every_steps = 4
"""
PAIR_STEPS = 1000  # So that kills within 8 s of a start do not all find a finished run.


def write_mnist(folder):
    """Writes noise as the four files of MNIST."""
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 6_000), ("t10k", 200)):
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = generator.integers(0, 10, count, np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{prefix}-{name}-ubyte").write_bytes(header + array.tobytes())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`Runs` with vae.gin at its own batch size."""
    runs = Runs(
        tmp_path_factory.mktemp("roulette"),
        (REPOSITORY / "configs" / "vae.gin").read_text() + CHANGES,
        "faults_plugin",
    )
    write_mnist(runs.folder)
    return runs


@pytest.mark.long
def test_five_kills(runs, completes):
    """Row 4. Where a slot of the optimizer or a moving average is not saved, it ends with other bits."""
    play(runs, completes, num_kills=5, num_steps=96, seed=1)


@pytest.mark.roulette
def test_twenty_kills(runs, completes):
    """Row 4, at length."""
    play(runs, completes, num_kills=20, num_steps=480, seed=0)


def start_pair(runs, name):
    """Starts two workers on one work folder; returns their `Command`s."""
    addresses = tuple(f"127.0.0.1:{port}" for port in _free_ports(2))
    variables = [{"TF_CONFIG": to_tf_config(Workers(addresses, index))} for index in (0, 1)]
    return [
        runs.start(name, f"--gin_param=train.num_steps = {PAIR_STEPS}", environment=variables[index])
        for index in (0, 1)
    ]


@pytest.mark.roulette
def test_six_kills_of_two_workers(runs):
    """The one that is killed takes the other with it, also before they have met; both resume."""
    assert [worker.finish().code for worker in start_pair(runs, "pair")] == [0, 0]
    choice, store = random.Random(2), runs.store("killed pair")
    for _ in range(6):
        workers = start_pair(runs, "killed pair")
        workers[0].wait_until(functools.partial(has_trained_past, runs, "killed pair", 0, ""))
        time.sleep(choice.uniform(0, 8))
        killed = choice.randrange(2)
        workers[killed].kill()
        ends = [worker.finish(60) for worker in workers]
        assert ends[1 - killed].code == 4, ends
        assert all(store.problem_with(step) is None for step in store.steps())
    assert 0 < max(store.steps()) < PAIR_STEPS, "the kills missed the training"
    assert [worker.finish().code for worker in start_pair(runs, "killed pair")] == [0, 0]
    one, other = runs.result("killed pair"), runs.result("pair")
    assert one["weights_sha256"] == other["weights_sha256"]


@pytest.mark.roulette
def test_eight_kills_of_an_export(runs):
    """The last good export survives each of them, and a clean one has the same weights."""
    assert runs.run("exported", "--gin_param=train.num_steps = 8").code == 0
    flags = ["--workdir=runs/exported", "--plugin=faults_plugin"]
    workdir = runs.workdir("exported")

    def weights():
        (data,) = (workdir / "export" / "saved_model" / "variables").glob("variables.data*")
        return hashlib.sha256(data.read_bytes()).hexdigest()

    started = time.monotonic()
    assert Command("launch.export", flags, runs.folder).finish().code == 0
    seconds, first = time.monotonic() - started, weights()
    choice = random.Random(4)
    for _ in range(8):
        process = Command("launch.export", flags, runs.folder)
        time.sleep(choice.uniform(0, seconds))
        process.kill()
        assert process.finish().code in (0, -signal.SIGKILL)
        assert weights() == first
    time.sleep(2)  # What is younger may still be written.
    assert Command("launch.export", flags, runs.folder).finish().code == 0
    assert weights() == first
    assert not list(workdir.rglob(".unfinished*"))
