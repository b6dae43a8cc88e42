"""Which configurations are compared, and why some cannot be."""

import dataclasses

from vaeflow.devices import compile_modes
from vaeflow.errors import ConfigurationError, RunError


@dataclasses.dataclass(frozen=True)
class Case:
    """What one process measures: the run as configured, with some changes.

    Attributes:
      settings: the settings of `train` that differ, pairs of a name and a value.
      devices: how many GPUs, or virtual devices, it may use; None for all.
    """

    settings: tuple = ()
    devices: int | None = None

    def __str__(self):
        changes = [f"{name} {value}" for name, value in self.settings]
        if self.devices is not None:
            changes.append(f"{self.devices} device{'s' if self.devices > 1 else ''}")
        return ", ".join(changes) or "as configured"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a comparison.

    Attributes:
      value: what differs: a compile mode, a number of steps, a number of replicas.
      case: the `Case` to measure; None where it is not possible.
      reason: why it is not.
    """

    value: object
    case: Case | None
    reason: str | None = None


def compare_compile_modes(run, measured, modes):
    """Lists a row for each compile mode.

    Args:
      run: the `Case` of the run as configured.
      measured: what was measured of it, see `process.measure`.
      modes: names of compile modes.
    """
    rows = []
    for mode in modes:
        reason = why_not(mode, measured["num_replicas"], measured["resident"])
        changed = dataclasses.replace(run, settings=(("compile_mode", mode),))
        same = mode == measured["compile_mode"]
        rows.append(Row(mode, None if reason else run if same else changed, reason))
    return rows


def compare_steps_per_loop(run, measured, numbers=None):
    """Lists a row for each number of steps in a loop; by default 1, 10 and that of the run."""
    rows = []
    for number in sorted({1, 10, measured["steps_per_loop"]}) if numbers is None else numbers:
        changed = dataclasses.replace(run, settings=(("steps_per_loop", number),))
        rows.append(Row(number, run if number == measured["steps_per_loop"] else changed))
    return rows


def compare_replicas(run, measured, counts, values, weak):
    """Lists a row for each number of replicas.

    Args:
      run: the `Case` of the run as configured.
      measured: what was measured of it, see `process.measure`.
      counts: numbers of replicas.
      values: the settings of `train`: name -> value.
      weak: whether each replica has as many examples as in the run (weak scaling); else
        all share the run's global batch (strong scaling).
    """
    rows = []
    for count in counts:
        batch_size = measured["batch_size"]
        if weak:
            batch_size = batch_size // measured["num_replicas"] * count
        same = (count, batch_size) == (measured["num_replicas"], measured["batch_size"])
        changed = Case((("batch_size", batch_size),), count)
        reason = why_not(values["compile_mode"], count, measured["resident"])
        parts = count * values["gradient_accumulation_steps"]
        if batch_size % parts:
            reason = f"a batch of {batch_size} images cannot be divided into {parts} equal parts"
        rows.append(Row(count, None if reason else run if same else changed, reason))
    return rows


def numbers_of_replicas(num_devices):
    """Lists the powers of two below a number of devices, and the number itself."""
    powers = [2**exponent for exponent in range(num_devices.bit_length())]
    return [power for power in powers if power < num_devices] + [num_devices]


def alternate(measure, cases, rounds, measured=None):
    """Measures cases in turn, round after round: machines are noisy, and what is compared shares the noise.

    Args:
      measure: called with a case; returns what was measured.
      cases: `Case`s, each once.
      rounds: how often each is measured.
      measured: what was measured before, case -> a list; it counts.

    Returns:
      A pair: case -> a list of what was measured of it, and case -> why it failed, after
      which it is not tried again.
    """
    found, failed = {case: list(before) for case, before in (measured or {}).items()}, {}
    for number in range(rounds):
        for case in cases:
            if case in failed or len(found.get(case, ())) > number:
                continue
            try:
                found.setdefault(case, []).append(measure(case))
            except RunError as error:
                failed[case] = str(error)
    return {case: results for case, results in found.items() if results}, failed


def why_not(compile_mode, num_replicas, resident):
    """Says why a compile mode cannot work with so many replicas and such data; None where it can."""
    try:
        compile_modes.check(compile_mode, num_replicas, resident)
    except ConfigurationError as error:
        return str(error)
    return None
