"""Which steps of a run are repeated, and in which ways."""

import pathlib
from collections.abc import Sequence

from vaeflow.commands.verification.recorded import Recorded
from vaeflow.commands.verification.repeating import Interval, Way
from vaeflow.errors import ConfigurationError

_START = 0


def intervals(recorded: Recorded, checkpoint: str, scratch: pathlib.Path) -> list[Interval]:
    """Lists what is repeated: from each chosen checkpoint to the next line of the log, if there is one.

    Args:
      recorded: the run.
      checkpoint: `"all"`, `"last"` or a step; see `verify`.
      scratch: a temporary folder, for the state at the start.

    Raises:
      ConfigurationError: there is no such checkpoint.
    """
    store = recorded.store
    kept = {step: str(store.path(step)) for step in store.steps() if store.problem_with(step) is None}
    kept.pop(_START, None)
    starts = {_START: str(scratch / "start" / store.path(_START).name), **kept}
    ends = {step: _next_line(recorded, step) for step in starts}
    chosen = _chosen(checkpoint, ends)
    reached = {ends[step] for step in chosen}
    found = [
        Interval(
            start=step,
            end=ends[step],
            checkpoint=starts[step],
            end_checkpoint=kept.get(ends[step] or _START),
            measures_start=step in kept and step not in reached and recorded.line_of(step) is not None,
        )
        for step in chosen
    ]
    result = recorded.result or {}
    last = result.get("restored_step", result.get("step"))
    if last in kept and last not in chosen:  # Whose weights `result.json` names.
        found.append(Interval(last, None, kept[last]))
    return found


def ways(recorded: Recorded, precision: str, on_others: bool, in_float64: bool) -> list[Way]:
    """Lists the ways in which intervals are repeated, first as it was run.

    Args:
      recorded: the run.
      precision: that of the run.
      on_others: whether also on another number of replicas.
      in_float64: whether also in float64.
    """
    count, workers = recorded.placement.replicas, recorded.placement.workers
    name = "as it was run" if workers == 1 else f"on {count} devices here for {workers} workers"
    found = [Way(name, count, precision, is_original=True)]
    if on_others:
        other = 2 if count == 1 else 1
        found.append(Way(f"on {other} replica" + ("s" if other > 1 else ""), other, precision))
    if in_float64 and precision != "float64":
        found.append(Way("in float64", 1, "float64"))
    return found


def _next_line(recorded: Recorded, step: int) -> int | None:
    return min((line.step for line in recorded.lines if line.step > step), default=None)


def _chosen(checkpoint: str, ends: dict[int, int | None]) -> Sequence[int]:
    """Returns the steps that a user means, of those from which steps can be repeated."""
    steps = sorted(ends)
    if checkpoint == "all":
        return steps
    if checkpoint == "last":
        followed = [step for step in steps if ends[step] is not None]
        return sorted({*followed[-1:], steps[-1]})
    if checkpoint.isdecimal() and int(checkpoint) in ends:
        return [int(checkpoint)]
    raise ConfigurationError(
        f"--checkpoint={checkpoint}: give all, last, or one of the steps {', '.join(map(str, steps))}; no "
        "other checkpoint is kept and intact"
    )
