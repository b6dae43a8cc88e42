"""The figures of one point of an axis, from the measurements of all rounds: pure functions."""

import statistics

from vaeflow.profiling import report

_MEDIANS = {
    "input": ("images_per_second",),
    "order": ("permutation_seconds", "wait_seconds"),
    "checkpoint": ("first_held_seconds", "held_seconds", "write_seconds", "restore_seconds"),
}
_SAME = ("num_weights", "checkpoint_bytes", "step_flops", "batch_size", "num_replicas")
_LARGEST = ("peak_memory_bytes", "peak_order_bytes")


def of_point(state, point):
    """Returns the figures of a point.

    Args:
      state: what was measured; see `table.markdown`.
      point: a `Point`.

    Returns:
      A dict of what `process` measured, medians of times and the largest of memory, with `others`, the
      share of the cores that others used. Of training: `images_per_second` with `lowest` and `highest`,
      `step_seconds`, `start_seconds`, `peak_memory_bytes`. None if the point was not measured.
    """
    measured = state["measured"].get(point.key)
    if not measured:
        return None
    last = measured[-1]
    found = {name: last[name] for name in _SAME if name in last}
    found |= {name: max(each[name] for each in measured) for name in _LARGEST if name in last}
    num_cores = state["settings"]["num_cores"]
    found["others"] = statistics.median(each["others_cores"] for each in measured) / num_cores
    if point.kind == "train":
        return found | _of_training(measured)
    found |= {name: statistics.median(each[name] for each in measured) for name in _MEDIANS[point.kind]}
    if point.kind == "input":
        rates = [each["images_per_second"] for each in measured]
        found |= {"lowest": min(rates), "highest": max(rates)}
    return found


def _of_training(measured):
    summary = report.summarize(measured)
    rates = summary["images_per_second"]
    return {
        "images_per_second": rates["median"],
        "lowest": rates["lowest"],
        "highest": rates["highest"],
        "step_seconds": summary["step_seconds"]["total"],
        "start_seconds": summary["setup_seconds"] + summary["first_step_seconds"],
    }
