"""The outer loop of a run: train for a while, measure, log, save, and again."""

import time

from absl import logging

from vaeflow import distribute
from vaeflow.errors import Preempted

_LONGEST_LOOP_SECONDS = 10


def train_to_end(run, callbacks, watchdog):
    """Trains to the end, loop by loop, with the callbacks in between.

    Args:
      run: a `Run`, whose trainer stands at the step to go on from.
      callbacks: a list of `Callback`s.
      watchdog: a `Watchdog`, which is told of each loop.

    Raises:
      Preempted: a signal asked to stop, and the state is saved.
      TrainingDiverged: the loss or gradient is not finite.
      EnvironmentFailure: the disk or the data failed.
    """
    trainer = run.trainer
    acting = [each for each in callbacks if run.workdir.writable or each.on_every_worker]
    for callback in acting:
        callback.on_train_begin(run)
    begun = time.monotonic() - run.metrics.get("wall_seconds", 0.0)
    compiled = False
    while trainer.step < run.num_steps:
        num_steps = _steps_to_next_stop(trainer, run.num_steps, callbacks)
        watchdog.progress(f"steps {trainer.step} to {trainer.step + num_steps}, with input from {run.source}")
        metrics = _train_for(num_steps, trainer)
        if compiled:
            _warn_of_long_loops(num_steps, num_steps * trainer.batch_size / metrics["examples_per_second"])
        compiled = True
        watchdog.progress(f"what follows step {trainer.step}: evaluation, pictures, checkpoints")
        # Before callbacks that take time: whoever stops the run may not wait long.
        _save_if_asked_to_stop(run, metrics)
        due = [callback for callback in callbacks if callback.is_due(run)]
        for callback in due:
            metrics |= callback.measure(run)
        progress = {
            "step": trainer.step,
            "examples_seen": trainer.step * trainer.batch_size,
            "wall_seconds": round(time.monotonic() - begun, 3),
        }
        run.metrics.update(progress | metrics)
        run.workdir.append_metrics(progress | metrics)
        for callback in acting:
            if callback in due:
                callback.on_log(run, metrics)
        if _save_if_asked_to_stop(run, metrics):
            break
    for callback in acting:
        callback.on_train_end(run)
    if trainer.step < run.num_steps:
        asked_by = run.stop_request.name or "a signal to another worker"
        raise Preempted(
            f"{asked_by} at step {trainer.step}: the state is saved; run the same command to go on"
        )


def _save_if_asked_to_stop(run, metrics):
    """Saves the state if a signal asked any worker for it before the end; returns whether one did."""
    asked = distribute.mean_over_workers(run.trainer.strategy, run.stop_request.name is not None)
    if not asked or run.step == run.num_steps:
        return False
    if run.workdir.writable:
        run.checkpoints.save(run.trainer.checkpoint(), run.step, metrics)
    return True


def _train_for(num_steps, trainer):
    """Trains for some steps; returns what was measured, a dict of floats."""
    started = time.monotonic()
    means = trainer.run(num_steps)
    seconds = time.monotonic() - started
    return {
        "examples_per_second": num_steps * trainer.batch_size / seconds,
        "train/input_wait_fraction": means.pop("input_seconds") / seconds,
        **{f"train/{name}": value for name, value in means.items()},
        **{f"train/{name}": rate for name, rate in trainer.learning_rates().items()},
    }


def _warn_of_long_loops(num_steps, seconds):
    if seconds > _LONGEST_LOOP_SECONDS:
        message = (
            "%d steps took %.0f s, and a signal is answered between loops only: lower `train.steps_per_loop`"
        )
        logging.log_first_n(logging.WARNING, message, 1, num_steps, seconds)


def _steps_to_next_stop(trainer, num_steps, callbacks):
    """Counts the steps to where the loop must return: a log, a callback, or the end."""
    cadences = [callback.every_steps for callback in callbacks if callback.every_steps]
    stops = [(trainer.step // cadence + 1) * cadence for cadence in (trainer.steps_per_loop, *cadences)]
    return min(*stops, num_steps) - trainer.step
