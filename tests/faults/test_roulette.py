"""Crash roulette: SIGKILLs at random moments of one run, which must not leave a trace in its result.

python -m pytest -m roulette        # 20 kills
"""

import functools
import random
import signal
import time

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def play(runs, completes, num_kills, num_steps, seed):
    """Kills a run again and again, and checks what is left of it each time; then lets it end.

    Some kills come while the command starts, the others after its first loop of training,
    spread over its share of the whole. Nothing pauses, and each loop of two steps writes to
    all files: most kills meet one that is being written.
    """
    settings = [f"--gin_param=train.num_steps = {num_steps}", "--gin_param=Checkpoints.every_steps = 2"]
    undisturbed, name = f"{num_kills} kills less", f"{num_kills} kills"
    start_seconds, training_seconds = _times(runs, undisturbed, settings)
    choice = random.Random(seed)
    store = runs.store(name)
    done = [0]
    for _ in range(num_kills):
        log_before = runs.text(name)
        process = runs.start(name, *settings)
        if choice.random() < 0.25:
            time.sleep(choice.uniform(0, start_seconds))
        else:
            process.wait_until(functools.partial(_has_trained_past, runs, name, done[-1], log_before))
            time.sleep(choice.uniform(0, 1.2 * training_seconds / num_kills))
        process.kill()
        finished = process.finish()
        assert finished.code == -signal.SIGKILL, finished
        assert all(store.problem_with(step) is None for step in store.steps())
        done.append(max(store.steps(), default=0))
    assert done == sorted(done), "a kill cost a checkpoint"
    assert 0 < done[-1] < num_steps
    completes(name, *settings, undisturbed=undisturbed)


def _has_trained_past(runs, name, step, log_before):
    """Whether a run has logged a later step; the log of before may hold steps that were lost."""
    return runs.text(name) != log_before and runs.last_step(name) > step


def _times(runs, name, settings):
    """Runs undisturbed; returns the seconds until the first loop was trained, and from there to the end."""
    started = time.monotonic()
    process = runs.start(name, *settings)
    process.wait_until(lambda: runs.text(name))
    first_loop = time.monotonic()
    assert process.finish().code == 0
    return first_loop - started, time.monotonic() - first_loop


def test_five_kills(runs, completes):
    """Row 4. Where a slot of the optimizer or a moving average is not saved, it ends with other bits."""
    play(runs, completes, num_kills=5, num_steps=100, seed=1)


@pytest.mark.roulette
def test_twenty_kills(runs, completes):
    """Row 4, at length."""
    play(runs, completes, num_kills=20, num_steps=300, seed=0)
