"""Compares what the repetition of an interval gave with what the run recorded."""

from collections.abc import Iterator, Mapping, Sequence

from vaeflow.commands.verification import tolerances
from vaeflow.commands.verification.checks import (
    DIFFERENT,
    NOT_VERIFIED,
    VERIFIED,
    Check,
    Value,
    described,
)
from vaeflow.commands.verification.recorded import Recorded
from vaeflow.commands.verification.repeating import Interval, Repeated, Way
from vaeflow.commands.verification.tolerances import Tolerances

_PART = "steps"
# Of the clock, so different in each run.
TIMES = frozenset({"wall_seconds", "examples_per_second", "train/input_wait_fraction"})


class Comparison:
    """Compares repetitions with the log.

    Args:
      recorded: the run.
      expects_bits: whether a repetition as it was run must give the same bits here.
      left_out: the names of values that are not compared.
      precision: that of the run.

    Attributes:
      repeated_steps: the steps of the lines that a repetition as it was run has verified.
    """

    def __init__(
        self, recorded: Recorded, expects_bits: bool, left_out: frozenset[str], precision: str
    ) -> None:
        self.recorded = recorded
        self.expects_bits = expects_bits
        self.left_out = left_out
        self.precision = precision
        self.repeated_steps: set[int] = set()

    def checks(
        self, intervals: Sequence[Interval], found: Mapping[Way, Sequence[Repeated]]
    ) -> Iterator[Check]:
        """Yields the checks of all intervals, in all ways.

        Args:
          intervals: which were repeated.
          found: what each way gave, in their order; nothing where it cannot work.
        """
        for way, repeated in found.items():
            for index, (interval, one) in enumerate(zip(intervals, repeated, strict=False)):
                length = (interval.end or interval.start) - interval.start
                repetitions = [each[index] for each in found.values() if each]
                allowed = Tolerances(self.precision, length, repetitions)
                yield from self._of_interval(way, interval, one, allowed)

    def _of_interval(
        self, way: Way, interval: Interval, found: Repeated, allowed: Tolerances
    ) -> Iterator[Check]:
        """Yields the checks of one interval in one way, with the tolerances of it."""
        resumed_at = self.recorded.resumed_at
        if interval.measures_start and way.is_original:
            # What was measured at the step of the resumption was measured before it.
            exact = self.expects_bits and interval.start > resumed_at
            yield self._of_start(interval, found, exact, allowed)
        if interval.end is None:
            return
        exact = self.expects_bits and way.is_original and interval.start >= resumed_at
        subject = f"steps {interval.start} to {interval.end}, {way.name}"
        if found.problem is not None:
            yield Check(_PART, subject, DIFFERENT, f"the repetition failed: {found.problem}")
            return
        lines = [
            line.metrics
            for line in self.recorded.lines
            if interval.start < line.step <= interval.end
            or line.step in (each["step"] for each in found.lines)
        ]
        values = [value for line in lines for value in self._of_line(line, found.lines, exact, allowed)]
        missing = {int(line["step"]) for line in found.lines} - {int(line["step"]) for line in lines}
        values += [Value(f"the line of step {step}", None, "a line") for step in sorted(missing)]
        if found.state is not None:
            values.append(_of_state(found.state, exact, allowed))
        check = _judged(subject, values, exact)
        if way.is_original and check.verdict == VERIFIED:
            self.repeated_steps.add(interval.end)
        yield check

    def _of_start(self, interval: Interval, found: Repeated, exact: bool, allowed: Tolerances) -> Check:
        subject = f"what was measured at step {interval.start}, from its checkpoint"
        line = self.recorded.line_of(interval.start)
        if found.problem is not None or line is None:
            remark = found.problem or "the log has no line of this step"
            return Check(_PART, subject, DIFFERENT if found.problem else NOT_VERIFIED, remark)
        measured = {"step": float(interval.start), **found.at_start}
        recorded = {name: value for name, value in line.metrics.items() if name in measured}
        return _judged(subject, list(self._of_line(recorded, [measured], exact, allowed)), exact)

    def _of_line(
        self,
        line: Mapping[str, float],
        repeated: Sequence[Mapping[str, float]],
        exact: bool,
        allowed: Tolerances,
    ) -> Iterator[Value]:
        """Yields the values of a line of the log, but for those of the clock."""
        step, loss = int(line["step"]), tolerances.loss_of(line)
        other = next((each for each in repeated if each["step"] == step), None)
        if other is None:
            yield Value(f"the line of step {step}", "a line", None)
            return
        for name in dict.fromkeys([*line, *other]):
            if name in TIMES or name in self.left_out:
                continue
            recorded, found = line.get(name), other.get(name)
            if exact or recorded is None or found is None:
                yield Value(name, recorded, found)
            elif not tolerances.is_counted(name):
                yield allowed.value(step, name, recorded, found, loss)


def _of_state(state: Mapping[str, float], exact: bool, allowed: Tolerances) -> Value:
    """Returns how the state at the end differs from the checkpoint there."""
    if exact:
        name = f"variables of {state['variables']} that differ from the checkpoint"
        return Value(name, 0, state["different"])
    name = "distance of the weights from the checkpoint"
    return Value(name, 0.0, state["deviation"], allowed.of_weights, scale=1.0)


def _judged(subject: str, values: list[Value], exact: bool) -> Check:
    wrong = [value for value in values if not value.agrees]
    if wrong:
        hint = "; the same bits are expected here, and these differ by rounding only"
        hint = hint if exact and _are_near(wrong) else ""
        return Check(_PART, subject, DIFFERENT, described(wrong) + hint, tuple(values))
    if not values:
        return Check(_PART, subject, NOT_VERIFIED, "there is no value to compare")
    if all(value.is_same for value in values):
        return Check(_PART, subject, VERIFIED, f"{_counted(values)}, equal bits", tuple(values))
    vague = [value for value in values if value.tolerance > tolerances.MEANINGLESS]
    worst = max(values, key=lambda value: (value.deviation or 0.0) / max(value.tolerance, 1e-300))
    remark = (
        f"{_counted(values)}, within tolerance: {worst.name} is off by {worst.deviation or 0.0:.1e}, "
        f"{worst.tolerance:.1e} is allowed"
    )
    if vague:
        remark += f"; rounding alone moves {vague[0].name} too far for a judgement"
        if len(vague) > 1:
            remark += f", and {len(vague) - 1} more"
    return Check(_PART, subject, NOT_VERIFIED if vague else VERIFIED, remark, tuple(values))


def _are_near(values: Sequence[Value]) -> bool:
    """Whether values differ by no more than rounding usually does."""
    deviations = [value.deviation for value in values]
    return all(each is not None and each <= tolerances.BASE["float32"] for each in deviations)


def _counted(values: Sequence[Value]) -> str:
    return f"{len(values)} value" + ("s" if len(values) > 1 else "")
