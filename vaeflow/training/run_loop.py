"""The outer loop of a run: train for a while, measure, log, save, and again."""

import contextlib
import functools
import time
from collections.abc import Generator, Sequence

from absl import logging

from vaeflow.callbacks import Callback, Checkpoints, RunContext, states
from vaeflow.devices import replicas
from vaeflow.errors import Preempted, user_code
from vaeflow.runs.time_limit import SAVE
from vaeflow.runs.watchdog import Watchdog
from vaeflow.training import next_loop
from vaeflow.training.pace import Pace

# Kinds of work, for the time limit.
_PART = "part of a loop"
_SHORT_WORK = "what follows a loop"
_LONG_WORK = "what follows a loop and takes long"


def train_to_end(run: RunContext, callbacks: Sequence[Callback], watchdog: Watchdog) -> None:
    """Trains to the end, loop by loop, with the callbacks in between.

    Args:
      run: a `RunContext`, whose trainer stands at the step to go on from.
      callbacks: a list of `Callback`s.
      watchdog: a `Watchdog`, which hears of each part of a loop.

    Raises:
      Preempted: a signal, a callback or the time limit asked to stop, and the state is saved.
      TrainingDiverged: the loss, the gradient or what was to be saved is not finite.
      EnvironmentFailure: the disk or the data failed.
    """
    acting = _acting(run, callbacks)
    states.give(callbacks, run.states)
    run.checkpoints.states = functools.partial(states.collected, callbacks)
    for callback in acting:
        _call(callback, "on_train_begin", run)
    states.collected(callbacks)  # Refuses early what no checkpoint could hold.
    try:
        _train_loops(run, callbacks, acting, watchdog)
    finally:
        run.trainer.settle()
        # Also if something else has failed since: what ends a save came first, and says more.
        run.checkpoints.finish_saving()
    for callback in acting:
        _call(callback, "on_train_end", run)
    if not run.is_finished:
        asked_by = run.stop_request.name or "a signal to another worker"
        raise Preempted(f"{asked_by} at step {run.step}: the state is saved; run the same command to go on")


def end(run: RunContext, callbacks: Sequence[Callback]) -> None:
    """Lets the callbacks act once more when the result of a finished run is written."""
    for callback in _acting(run, callbacks):
        _call(callback, "on_run_end", run)


@contextlib.contextmanager
def failures_told(run: RunContext, callbacks: Sequence[Callback]) -> Generator[None]:
    """Tells the callbacks of an error that ends the run inside; what they raise then is only a warning."""
    try:
        yield
    except Preempted:
        raise
    except Exception as error:
        for callback in _acting(run, callbacks):
            try:
                _call(callback, "on_failure", run, error)
            except Exception as another:  # It must not hide what happened.
                logging.warning("%s", another)
        raise


def _acting(run, callbacks):
    """Returns the callbacks that act on this worker."""
    return [each for each in callbacks if run.workdir.writable or each.on_every_worker]


def _train_loops(run, callbacks, acting, watchdog):
    """Trains, with what the callbacks do after each loop, until the end or until something asks to stop."""
    trainer = run.trainer
    begun = time.monotonic() - run.metrics.get("wall_seconds", 0.0) - trainer.totals.seconds
    pace = Pace(trainer.strategy)
    _agree_on_end(run)
    while not run.is_finished:
        if not _train_loop(run, callbacks, pace, watchdog):
            break
        metrics = _metrics(trainer, trainer.totals)
        due = [callback for callback in callbacks if _call(callback, "is_due", run)]
        work = _LONG_WORK if any(callback.takes_long for callback in due) else _SHORT_WORK
        if not trainer.steps_ahead:
            if _is_out_of_time(run, work):  # A resumed run makes up for what follows the loop.
                _save(run, metrics)
                break
            _save_before_long_work(run, callbacks, due, metrics)
        trainer.take_totals()
        with _timed(run, work):
            _follow_loop(run, due, acting, metrics, begun, watchdog)
        if trainer.steps_ahead:
            continue  # No state of this step is left to save.
        _agree_on_end(run)
        if run.ended_by is not None or run.save_requested:
            _save_besides(run, callbacks, due, metrics)
        if not run.is_finished and _is_out_of_time(run, _PART):
            _save(run, metrics)
            break
        if _save_if_asked_to_stop(run, metrics):
            break


def _follow_loop(run, due, acting, metrics, begun, watchdog):
    """Lets the callbacks measure, writes the line of the log, and lets them act; adds to `metrics`."""
    trainer = run.trainer
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
            if trainer.steps_ahead and (run.ended_by is not None or run.save_requested):
                problem = "ends the run or asks for a save; with `only_reports` it must do neither"
                raise user_code.wrong(callback, "on_log", problem)


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


def _train_loop(run, callbacks, pace, watchdog):
    """Trains one loop, in parts; returns False where a signal stopped it before, with the state saved."""
    trainer = run.trainer
    stop = next_loop.next_stop(trainer, run.num_steps, callbacks)
    while trainer.step < stop:
        run.checkpoints.check_saving()
        num_steps = trainer.steps_ahead or pace.next_part(stop - trainer.step)
        end = trainer.step + num_steps
        watchdog.progress(f"steps {trainer.step} to {end}, with input from {run.source}")
        next_steps = next_loop.part_ahead(run, stop, num_steps, callbacks, pace) if end == stop else 0
        if next_steps and not _leaves_time_for(run, _PART, _SHORT_WORK, _PART):
            next_steps = 0
        seconds = trainer.train(num_steps, next_steps)
        if run.time_limit is not None:
            run.time_limit.note(_PART, seconds)
        pace.note(num_steps, seconds)
        if trainer.step < stop and _is_out_of_time(run, _PART):
            _save(run, _metrics(trainer, trainer.totals))
            return False
        if trainer.step < stop and _save_if_asked_to_stop(run, _metrics(trainer, trainer.totals)):
            return False
    return True


def _save_before_long_work(run, callbacks, due, metrics):
    """Saves the state as it is before what follows a loop, if that may take long or a signal has come.

    The totals of the loop are saved with it: a run that is killed in an evaluation resumes with that
    evaluation. Once it is done, `Checkpoints` adds its metrics to the record.
    """
    saves = any(isinstance(callback, Checkpoints) for callback in callbacks)
    if saves and any(callback.takes_long for callback in due):
        _save(run, metrics)
    _save_if_asked_to_stop(run, metrics)


def _save_if_asked_to_stop(run, metrics):
    """Saves the state if a signal asked any worker for it before the end; returns whether one did."""
    asked = replicas.mean_over_workers(run.trainer.strategy, run.stop_request.name is not None)
    if not asked or run.step >= run.num_steps:
        return False
    _save(run, metrics)
    return True


def _agree_on_end(run):
    """Ends the run on every worker where a callback has ended it on any."""
    if replicas.mean_over_workers(run.trainer.strategy, run.ended_by is not None):
        run.ended_by = run.ended_by or "a callback of another worker"


def _is_out_of_time(run, work):
    """Whether some work would take any worker longer than its time limit allows; asks to stop if so."""
    if run.time_limit is None:
        return False
    if replicas.mean_over_workers(run.trainer.strategy, not _leaves_time_for(run, work)):
        run.stop(f"the time limit of {run.time_limit.max_seconds:,g} s (`train.max_seconds`)")
        return True
    return False


def _leaves_time_for(run, *works):
    """Whether the time limit, if there is one, leaves this worker the time for some work and a save."""
    if run.time_limit is None:
        return True
    run.time_limit.note(SAVE, run.checkpoints.expected_seconds())
    return run.time_limit.leaves_time_for(*works)


def _timed(run, work):
    """Notes for the time limit how long the work inside takes."""
    return contextlib.nullcontext() if run.time_limit is None else run.time_limit.timing(work)


def _save_besides(run, callbacks, due, metrics):
    """Saves at a step where a callback asked for it, or has ended the run, unless `Checkpoints` just has."""
    saves = any(isinstance(callback, Checkpoints) for callback in callbacks)
    if (saves or run.save_requested) and not any(isinstance(callback, Checkpoints) for callback in due):
        _save(run, metrics)
    run.save_requested = False


def _save(run, metrics):
    """Saves the state, on the chief."""
    if run.workdir.writable:
        run.checkpoints.save(run.trainer.checkpoint(), run.step, metrics, run.trainer.totals)


def _metrics(trainer, totals):
    """Returns what some steps measured, as it is logged, a dict of floats."""
    return {
        "examples_per_second": totals.num_steps * trainer.settings.batch_size / totals.seconds,
        "train/input_wait_fraction": totals.input_seconds / totals.seconds,
        **{f"train/{name}": mean for name, mean in totals.means().items()},
        **{f"train/{name}": rate for name, rate in trainer.learning_rates().items()},
    }
