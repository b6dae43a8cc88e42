"""Where a loop ends, and whether the next one waits for what follows it."""

from collections.abc import Sequence

from vaeflow.callbacks import Callback, RunContext
from vaeflow.errors import user_code
from vaeflow.training.pace import Pace
from vaeflow.training.trainer import Trainer


def next_stop(trainer: Trainer, num_steps: int, callbacks: Sequence[Callback]) -> int:
    """Returns the step to which a loop goes: that of a log, a callback, or the end."""
    cadences = _cadences(trainer, callbacks)
    # Of a loop that was saved at its end, what follows is still to come.
    if trainer.totals.num_steps and any(trainer.step % cadence == 0 for cadence in cadences):
        return trainer.step
    return _end_of_loop(trainer.step, num_steps, cadences)


def part_ahead(run: RunContext, step: int, num_steps: int, callbacks: Sequence[Callback], pace: Pace) -> int:
    """Says how many steps of the next loop begin before anyone looks at the one that ends at a step.

    None where something may come between them that needs the state of that step: a callback that does more
    than report, a save, the end of the run. Nor where a signal would have to wait too long.

    Args:
      run: the `RunContext`.
      step: at which the loop ends that is about to go on.
      num_steps: how many steps of it are left.
      callbacks: all callbacks.
      pace: the `Pace`.
    """
    if step >= run.num_steps or not run.trainer.can_begin_ahead:
        return 0
    if run.stop_request.name is not None or run.ended_by is not None or run.save_requested:
        return 0
    if any(_needs_state(callback, run, step) for callback in callbacks):
        return 0
    end = _end_of_loop(step, run.num_steps, _cadences(run.trainer, callbacks))
    return pace.next_ahead(end - step, num_steps)


def _cadences(trainer, callbacks):
    every = [callback.every_steps for callback in callbacks if callback.every_steps]
    return [trainer.settings.steps_per_loop, *every]


def _end_of_loop(step, num_steps, cadences):
    """Returns the step to which the loop goes that begins at a step."""
    return min(*((step // cadence + 1) * cadence for cadence in cadences), num_steps)


def _needs_state(callback, run, step):
    """Whether a callback may read or change the state after a step: it is due then, and not only reports."""
    own = type(callback)
    # A subclass may do more than the class that it extends.
    if vars(own).get("only_reports", False):
        return False
    if own.is_due is not Callback.is_due:
        return True  # Nobody knows beforehand what it will say.
    with user_code.running(callback, "is_due_after"):
        return callback.is_due_after(run, step)
