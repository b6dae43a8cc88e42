"""The targets of the comparison, and whether the measurements reach them: pure functions."""

import dataclasses
import statistics

from benchmarks import lines, load
from benchmarks.workloads import WORKLOADS

_MOST_COST_OF_REPLICAS = 0.10
_PEERS = [name for names in lines.PEERS.values() for name in names]


@dataclasses.dataclass(frozen=True)
class Target:
    """A target and the measurement that decides it.

    Attributes:
      text: the target in words.
      value: the measurement, or None.
      is_reached: whether the value is good enough.
      form: how `value` is written, for `str.format`.
      compared: the lines that were compared.
    """

    text: str
    value: float | None
    is_reached: bool
    form: str
    compared: list


def rates(windows):
    """Returns the images per second in each of some windows."""
    return [window["images"] / window["seconds"] for window in windows]


def lead(line):
    """Returns how many times as fast as a line vaeflow was in the same round, the median over the rounds.

    Args:
      line: an entry of `lines`.

    Returns:
      A float, or None if the line is None or failed.
    """
    if not _is_measured(line):
        return None
    return statistics.median(
        a / b for a, b in zip(rates(line["beside"]), rates(line["windows"]), strict=True)
    )


def find(measured, name, tuned_allocator=False):
    """Returns the line of that name of a workload's measurements, or None."""
    for line in measured["lines"]:
        if line["name"] == name and line["tuned_allocator"] == tuned_allocator:
            return line
    return None


def peers(measured, names=_PEERS):
    """Returns the lines of these names that were measured, with either allocator."""
    return [line for line in measured["lines"] if line["name"] in names and _is_measured(line)]


def best_peer(measured, names=_PEERS):
    """Returns the fastest of these lines, or None without any."""
    return min(peers(measured, names), key=lead, default=None)


def title(line):
    """Returns the name of a line, with its allocator where that is tuned."""
    return line["name"] + (", tuned allocator" if line["tuned_allocator"] else "")


def of_matrix_product(measured):
    """Returns the share of the matrix product's rate that vaeflow reached, the rounds' median, or None."""
    vaeflow, product = find(measured, lines.VAEFLOW), find(measured, lines.MATRIX_PRODUCT)
    if not _is_measured(vaeflow) or not _is_measured(product):
        return None
    return statistics.median(
        window["steps"] * vaeflow["flops_per_step"] / window["seconds"] / best["flops_per_second"]
        for window, best in zip(product["beside"], product["windows"], strict=True)
    )


def by_others(line, num_cores):
    """Returns the share of the cores that others used beside a line or vaeflow; 0 if nothing was measured."""
    return max(
        (load.by_others(line[each], num_cores) for each in ("windows", "beside") if line[each]), default=0
    )


def targets(results, num_cores):
    """Compares the measurements with the targets.

    Args:
      results: a dict, name of a workload -> a dict with `lines`, a list of what `measure` gave.
      num_cores: how many cores the programs had.

    Returns:
      A list of dicts: `workload`; `target` and `measured`, texts; `verdict`, `"reached"`, `"missed"`,
      `"not measured"`, or `"not judged: …"` if other processes kept the machine busy.
    """
    return [
        {
            "workload": name,
            "target": target.text,
            "measured": "–" if target.value is None else target.form.format(target.value),
            "verdict": _verdict(target, num_cores),
        }
        for name, measured in results.items()
        for target in _targets_of(WORKLOADS[name], measured)
    ]


def _targets_of(workload, measured):
    """Yields the `Target`s of one workload."""
    best, compared = best_peer(measured), peers(measured)
    least, value = workload.times_best, lead(best)
    text = f"at least {least:.1f} times the best peer" + (f" ({title(best)})" if best else "")
    # All are compared: on an idle machine, another one might have been the best.
    yield Target(text, value, value is not None and value >= least, "{:.2f} times", compared)
    if workload.on_replicas:
        two = find(measured, lines.TWO_REPLICAS)
        cost = None if lead(two) is None else lead(two) - 1.0
        text = f"2 CPU replicas cost at most {_MOST_COST_OF_REPLICAS:.0%} more time than 1"
        yield Target(text, cost, cost is not None and cost <= _MOST_COST_OF_REPLICAS, "{:+.0%}", [two])
    if (most := workload.first_step_seconds) is not None:
        vaeflow = find(measured, lines.VAEFLOW)
        seconds = vaeflow["start_seconds"] if _is_measured(vaeflow) else None
        text = f"the first step at most {most:g} s after the start"
        yield Target(text, seconds, seconds is not None and seconds <= most, "{:.1f} s", [vaeflow])


def _verdict(target, num_cores):
    if target.value is None:
        return "not measured"
    others = max(by_others(line, num_cores) for line in target.compared)
    if others > load.MOST_BY_OTHERS:
        return f"not judged: others used {others:.0%} of the cores"
    return "reached" if target.is_reached else "missed"


def _is_measured(line):
    return line is not None and not line["failure"] and bool(line["windows"])
