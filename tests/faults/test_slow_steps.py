"""A signal in a loop that takes a minute: the run does not wait for its end."""

import re

import pytest

from tests.fixtures.commands import message

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

# One loop, without a log or a checkpoint before its end.
ONE_LOOP = [
    "--gin_param=train.steps_per_loop = 400",
    "--gin_param=train.num_steps = 400",
    "--gin_param=train.callbacks = [@Fault(), @Checkpoints()]",
    "--gin_param=Checkpoints.every_steps = 400",
]


def test_a_signal_in_mid_loop_is_answered_in_seconds(runs, completes):
    """Row 2: a step takes 0.15 s, and 10 s are 67 of them. Row 3: the one line has the same bits.

    Where loops are one call, the run ends at step 400; where the totals are not saved, the line is another.
    """
    assert runs.run("one loop", *ONE_LOOP).code == 0
    finished = runs.run("slow", *ONE_LOOP, environment={"FAULT": "slow steps", "FAULT_STEP": 10})
    assert finished.code == 42
    told = r"launch.train: preempted: SIGTERM at step (\d+): the state is saved; .*"
    step = int(re.fullmatch(told, message(finished))[1])
    assert 10 < step <= 10 + 67
    assert runs.store("slow").steps() == [step]
    assert runs.text("slow") == ""
    assert runs.store("slow").record(step)["totals"].num_steps == step
    completes("slow", *ONE_LOOP, undisturbed="one loop")
