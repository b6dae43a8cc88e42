"""The targets of the comparison, and whether the measurements reach them: pure functions."""

import dataclasses
import statistics

from benchmarks import lines, load
from benchmarks.workloads import WORKLOADS

_MOST_COST_OF_REPLICAS = 0.10


@dataclasses.dataclass(frozen=True)
class Target:
    """A target and the measurement that decides it.

    Attributes:
      text: the target in words.
      value: the measurement, or None.
      is_reached: whether the value is good enough.
      form: how `value` is written, for `str.format`.
      compared: a list of windows for each line that was compared.
    """

    text: str
    value: float | None
    is_reached: bool
    form: str
    compared: list


def rates(line):
    """Returns a line's images per second, one for each round."""
    return [window["images"] / window["seconds"] for window in line["windows"]]


def times(line, other):
    """Returns the speed of one line relative to another: the median of the ratios of all rounds.

    Args:
      line, other: entries of `lines`.

    Returns:
      A float, or None if one of them is None or failed.
    """
    if any(each is None or each["failure"] or not each["windows"] for each in (line, other)):
        return None
    return statistics.median(a / b for a, b in zip(rates(line), rates(other), strict=True))


def find(measured, name, tuned_allocator=False):
    """Returns the line of that name of a workload's measurements, or None."""
    for line in measured["lines"]:
        if line["name"] == name and line["tuned_allocator"] == tuned_allocator:
            return line
    return None


def of_matrix_product(measured):
    """Returns the share of the matrix product's rate that vaeflow reached, the median of the rounds."""
    line, products = find(measured, lines.VAEFLOW), measured["matrix_product"]
    if line["failure"] or not products:
        return None
    return statistics.median(
        window["steps"] * line["flops_per_step"] / window["seconds"] / product["flops_per_second"]
        for window, product in zip(line["windows"], products, strict=True)
    )


def targets(results, num_cores):
    """Compares the measurements with the targets.

    Args:
      results: a dict, name of a workload -> what `measure` returned.
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


def cost_of_replicas(measured):
    """Returns how much more time an image takes on two replicas than on one, a fraction, or None."""
    ratio = times(find(measured, lines.VAEFLOW), find(measured, lines.TWO_REPLICAS))
    return None if ratio is None else ratio - 1.0


def _targets_of(workload, measured):
    """Yields the `Target`s of one workload."""
    vaeflow, pythae = find(measured, lines.VAEFLOW), find(measured, lines.PYTHAE)
    ratio, least = times(vaeflow, pythae), workload.times_pythae
    text = f"at least {least:.1f} times pythae"
    yield Target(text, ratio, _at_least(ratio, least), "{:.2f} times", _windows(vaeflow, pythae))
    torch = {name: find(measured, name) for name in lines.TORCH}
    ratios = {name: times(vaeflow, line) for name, line in torch.items()}
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    best = min(known, key=known.get, default=None)
    ratio = known.get(best)
    text = "at least the best PyTorch line" + (f" ({best.removeprefix('PyTorch, ')})" if best else "")
    # The windows of all: on an idle machine, another line might have been the best.
    compared = _windows(vaeflow, *torch.values())
    yield Target(text, ratio, _at_least(ratio, 1.0), "{:.2f} times", compared)
    if (least := workload.of_matrix_product) is not None:
        part, products = of_matrix_product(measured), measured["matrix_product"] or []
        text = f"at least {least:.0%} of the matrix product's rate"
        yield Target(text, part, _at_least(part, least), "{:.0%}", [*_windows(vaeflow), products])
    if workload.on_replicas:
        cost, two = cost_of_replicas(measured), find(measured, lines.TWO_REPLICAS)
        text = f"2 CPU replicas cost at most {_MOST_COST_OF_REPLICAS:.0%} more time than 1"
        reached = cost is not None and cost <= _MOST_COST_OF_REPLICAS
        yield Target(text, cost, reached, "{:+.0%}", _windows(vaeflow, two))


def _verdict(target, num_cores):
    if target.value is None:
        return "not measured"
    others = max(load.by_others(windows, num_cores) for windows in target.compared)
    if others > load.MOST_BY_OTHERS:
        return f"not judged: others used {others:.0%} of the cores"
    return "reached" if target.is_reached else "missed"


def _at_least(value, least):
    return value is not None and value >= least


def _windows(*measured_lines):
    """Returns the windows of the lines that were measured."""
    return [line["windows"] for line in measured_lines if line is not None and not line["failure"]]
