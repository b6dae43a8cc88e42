"""The outer loop of a run: train for a while, measure, log, save, and again."""

import time
from collections.abc import Sequence

from vaeflow.callbacks import Callback, Checkpoints, RunContext
from vaeflow.devices import replicas
from vaeflow.errors import Preempted, user_code
from vaeflow.runs.watchdog import Watchdog
from vaeflow.training.pace import Pace
from vaeflow.training.trainer import Trainer


def train_to_end(run: RunContext, callbacks: Sequence[Callback], watchdog: Watchdog) -> None:
    """Trains to the end, loop by loop, with the callbacks in between.

    Args:
      run: a `RunContext`, whose trainer stands at the step to go on from.
      callbacks: a list of `Callback`s.
      watchdog: a `Watchdog`, which hears of each part of a loop.

    Raises:
      Preempted: a signal asked to stop, and the state is saved.
      TrainingDiverged: the loss or gradient is not finite.
      EnvironmentFailure: the disk or the data failed.
    """
    trainer = run.trainer
    acting = [each for each in callbacks if run.workdir.writable or each.on_every_worker]
    for callback in acting:
        _call(callback, "on_train_begin", run)
    begun = time.monotonic() - run.metrics.get("wall_seconds", 0.0) - trainer.totals.seconds
    pace = Pace(trainer.strategy)
    # Totals without a step to come: the run was ended in what follows its last step.
    while trainer.step < run.num_steps or trainer.totals.num_steps:
        if not _train_to(next_stop(trainer, run.num_steps, callbacks), run, pace, watchdog):
            break
        metrics = _metrics(trainer, trainer.totals)
        due = [callback for callback in callbacks if _call(callback, "is_due", run)]
        _save_before_long_work(run, callbacks, due, metrics)
        trainer.take_totals()
        for callback in due:
            watchdog.progress(f"{type(callback).__name__} after step {trainer.step}")
            metrics |= measured(callback, run)
        progress = {
            "step": trainer.step,
            "examples_seen": trainer.step * trainer.settings.batch_size,
            "wall_seconds": round(time.monotonic() - begun, 3),
        }
        run.metrics.update(progress | metrics)
        run.workdir.append_metrics(progress | metrics)
        for callback in acting:
            if callback in due:
                watchdog.progress(f"{type(callback).__name__} after step {trainer.step}")
                _call(callback, "on_log", run, metrics)
        if _save_if_asked_to_stop(run, metrics):
            break
    for callback in acting:
        _call(callback, "on_train_end", run)
    if trainer.step < run.num_steps:
        asked_by = run.stop_request.name or "a signal to another worker"
        raise Preempted(
            f"{asked_by} at step {trainer.step}: the state is saved; run the same command to go on"
        )


def next_stop(trainer: Trainer, num_steps: int, callbacks: Sequence[Callback]) -> int:
    """Returns the step to which a loop goes: that of a log, a callback, or the end."""
    cadences = [trainer.settings.steps_per_loop]
    cadences += [callback.every_steps for callback in callbacks if callback.every_steps]
    # Of a loop that was saved at its end, what follows is still to come.
    if trainer.totals.num_steps and any(trainer.step % cadence == 0 for cadence in cadences):
        return trainer.step
    return min(*((trainer.step // cadence + 1) * cadence for cadence in cadences), num_steps)


def measured(callback: Callback, run: RunContext) -> dict[str, float]:
    """Returns what a callback measures of a run as it stands; what it gives is checked."""
    metrics = _call(callback, "measure", run)
    if not isinstance(metrics, dict):
        problem = f"must return a dict of floats, it returned {metrics!r}"
        raise user_code.wrong(callback, "measure", problem)
    found = {}
    for name, value in metrics.items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            found[name] = None
        if found[name] is None or not isinstance(name, str):
            problem = (
                f"gives the metric {name!r} as {user_code.described(value)}; it must be a name and a number"
            )
            raise user_code.wrong(callback, "measure", problem)
    return found


def _call(callback, method, *arguments):
    with user_code.running(callback, method):
        return getattr(callback, method)(*arguments)


def _train_to(stop, run, pace, watchdog):
    """Trains to a step, in parts; returns False where a signal stopped it before, with the state saved."""
    trainer = run.trainer
    while trainer.step < stop:
        num_steps = pace.next_part(stop - trainer.step)
        watchdog.progress(f"steps {trainer.step} to {trainer.step + num_steps}, with input from {run.source}")
        seconds = trainer.train(num_steps)
        pace.note(num_steps, seconds)
        if trainer.step < stop and _save_if_asked_to_stop(run, _metrics(trainer, trainer.totals)):
            return False
    return True


def _save_before_long_work(run, callbacks, due, metrics):
    """Saves the state as it is before what follows a loop, if that may take long or a signal has come.

    The totals of the loop are saved with it: a run that is killed in an evaluation resumes with that
    evaluation. Once it is done, `Checkpoints` adds its metrics to the record.
    """
    saves = any(isinstance(callback, Checkpoints) for callback in callbacks)
    if saves and any(callback.takes_long for callback in due) and run.workdir.writable:
        _save(run, metrics)
    _save_if_asked_to_stop(run, metrics)


def _save_if_asked_to_stop(run, metrics):
    """Saves the state if a signal asked any worker for it before the end; returns whether one did."""
    asked = replicas.mean_over_workers(run.trainer.strategy, run.stop_request.name is not None)
    if not asked or run.step >= run.num_steps:
        return False
    if run.workdir.writable:
        _save(run, metrics)
    return True


def _save(run, metrics):
    run.checkpoints.save(run.trainer.checkpoint(), run.step, metrics, run.trainer.totals)


def _metrics(trainer, totals):
    """Returns what some steps measured, as it is logged, a dict of floats."""
    return {
        "examples_per_second": totals.num_steps * trainer.settings.batch_size / totals.seconds,
        "train/input_wait_fraction": totals.input_seconds / totals.seconds,
        **{f"train/{name}": mean for name, mean in totals.means().items()},
        **{f"train/{name}": rate for name, rate in trainer.learning_rates().items()},
    }
