"""Signals and stalls in commands that train nothing: they end at once, by name, with nothing half-written.

python -m pytest -m fuzz        # every command, many moments
"""

import random
import re
import signal
import time

import pytest

from tests.fixtures import signalled
from tests.fixtures.commands import Command, message

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

COMMANDS = ("evaluate", "sample", "embed", "export", "record", "train")
# Reads the images whose source may stall.
TRAIN_SPLIT = "--gin_param=evaluate.split = 'train'"
STALLS = {"FAULT": "source stalls", "FAULT_STEP": "1"}


def arguments(name, *more):
    plugin = [] if name == "record" else ["--plugin=faults_plugin"]
    return ["--workdir=runs/undisturbed", *plugin, *more]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_evaluation_whose_data_never_come(runs, number):
    """Its main thread is inside TensorFlow, where no handler of Python's runs."""
    command = signalled.start("launch.evaluate", arguments("evaluate", TRAIN_SPLIT), runs.folder, STALLS)
    time.sleep(3)
    command.send_signal(number)
    finished = command.finish(20)
    assert finished.code == 128 + number
    assert message(finished) == f"launch.evaluate: stopped by {number.name}"
    assert "evaluation_train.json" not in {path.name for path in runs.workdir("undisturbed").iterdir()}


def test_an_evaluation_whose_data_never_come_is_ended_by_name(runs):
    limit = "--gin_param=train.stall_seconds = 4"
    finished = Command(
        "launch.evaluate", arguments("evaluate", TRAIN_SPLIT, limit), runs.folder, STALLS
    ).finish(60)
    assert finished.code == 4
    pattern = r"launch.evaluate: error: no progress for \d+ s in batch 1 of 4 of the images; the stacks .*"
    assert re.fullmatch(pattern, message(finished))
    assert message(finished).endswith("; run the same command again")


def disturb(runs, name, choice, times):
    """Sends random signals at random moments to a command, then lets it run."""
    module, flags = f"launch.{name}", arguments(name)
    started = time.monotonic()
    signalled.expect_clean_end(Command(module, flags, runs.folder).finish())
    seconds = time.monotonic() - started
    for _ in range(times):
        command = signalled.start(module, flags, runs.folder)
        time.sleep(choice.uniform(0, seconds))
        command.send_signal(choice.choice([signal.SIGHUP, signal.SIGINT, signal.SIGTERM]))
        signalled.expect_clean_end(command.finish(30))
        signalled.expect_nothing_left(runs.workdir("undisturbed"))
    assert Command(module, flags, runs.folder).finish().code == 0


def test_a_signal_at_a_random_moment(runs):
    disturb(runs, "embed", random.Random(3), times=1)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_random_moments_to_every_command(runs, name):
    disturb(runs, name, random.Random(name), times=8)
