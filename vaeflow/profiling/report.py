"""Turns measurements into figures for people and programs: a dict, and a table of text."""

import statistics

_GIB = 2**30
# Of each comparison: the name of what differs, its column, and the heading.
COMPARISONS = {
    "compile_modes": ("compile_mode", "mode", "Compile modes"),
    "steps_per_loop": ("steps_per_loop", "steps", "Steps per loop"),
    "strong_scaling": ("num_replicas", "replicas", "Strong scaling: the same global batch"),
    "weak_scaling": ("num_replicas", "replicas", "Weak scaling: the same batch for each replica"),
}
_ONE_CPU = "The virtual devices share one CPU: {:.0%} at {} replicas would mean that nothing is lost."


def summarize(measurements):
    """Reduces what was measured of one case, in one or more processes, to figures.

    Args:
      measurements: a list of dicts, see `process.measure`.

    Returns:
      A dict: `images_per_second` with `median`, `lowest` and `highest` of all windows;
      `step_seconds` at the median rate, split into `input`, `compute` and `host`;
      `setup_seconds` and `first_step_seconds`, medians; `peak_memory_bytes` and
      `peak_gpu_memory_bytes`, the largest; and the facts of the case.
    """
    facts = dict(measurements[-1])
    windows = [window for each in measurements for window in each["windows"]]
    rates = [window["steps"] * facts["batch_size"] / window["seconds"] for window in windows]
    median = statistics.median(rates)
    parts = {}
    for part in ("input", "compute"):
        fractions = [window[f"{part}_seconds"] / window["seconds"] for window in windows]
        parts[part] = statistics.mean(fractions) * facts["batch_size"] / median
    step_seconds = facts["batch_size"] / median
    host = max(0.0, step_seconds - sum(parts.values()))
    del facts["windows"]
    return facts | {
        "images_per_second": {"median": median, "lowest": min(rates), "highest": max(rates)},
        "step_seconds": {"total": step_seconds, **parts, "host": host},
        "windows": len(rates),
        **{
            name: statistics.median(each[name] for each in measurements)
            for name in ("setup_seconds", "first_step_seconds")
        },
        **{
            name: max((each[name] for each in measurements if each[name] is not None), default=None)
            for name in ("peak_memory_bytes", "peak_gpu_memory_bytes")
        },
    }


def with_arithmetic(summary, measurements):
    """Adds what a run achieves of the device's arithmetic; see `measuring.arithmetic`."""
    rate = max(each["matrix_product_flops_per_second"] for each in measurements)
    flops = measurements[-1]["step_flops"]
    achieved = None if flops is None else flops / summary["step_seconds"]["total"]
    return summary | {
        "matrix_product_flops_per_second": rate,
        "flops_per_second": achieved,
        "fraction_of_matrix_product": None if flops is None else achieved / rate,
    }


def compare(name, rows, measured, failed):
    """Makes the rows of a comparison for the report.

    Args:
      name: a key of `COMPARISONS`.
      rows: a list of `cases.Row`s.
      measured: case -> a list of measurements.
      failed: case -> why it could not be measured.

    Returns:
      A list of dicts: as `summarize`, or what differs and `reason`; with several
      replicas also `efficiency`, of which 1 is n times the images/s of one replica.
    """
    varied, *_ = COMPARISONS[name]
    found = [
        {varied: row.value} | summarize(measured[row.case])
        if row.case in measured
        else {varied: row.value, "reason": row.reason or failed[row.case]}
        for row in rows
    ]
    done = [each for each in found if "reason" not in each]
    if varied == "num_replicas":
        for each in done:
            each["efficiency"] = _rate(each) / each[varied] / (_rate(done[0]) / done[0][varied])
    return found


def as_text(report):
    """Writes a report as tables of text."""
    lines = [describe(report["run"]), "", *_run_lines(report["run"])]
    for name, (varied, column, heading) in COMPARISONS.items():
        if report[name]:
            lines += ["", heading, *_comparison_lines(column, varied, report[name])]
    replicas = [row["num_replicas"] for row in report["strong_scaling"] if "efficiency" in row]
    if report["run"]["device_kind"] == "CPU" and max(replicas, default=1) > 1:
        lines += ["", _ONE_CPU.format(1 / max(replicas), max(replicas))]
    return "\n".join(lines)


def describe(run):
    """Says in a line what was measured."""
    count = run["num_replicas"]
    shape = " x ".join(map(str, run["image_shape"]))
    return (
        f"{run['model']} on {run['dataset']} ({shape}), batch {run['batch_size']}, {run['precision']}, "
        f"{count} {run['device_kind']} replica{'s' if count > 1 else ''}"
        + (f" ({run['device_name']})" if run["device_name"] else "")
        + f", data {'on the device' if run['resident'] else 'streamed'}"
    )


def milliseconds(seconds):
    """Writes a time in milliseconds without the unit, with up to three figures."""
    value = 1000 * seconds
    digits = next((digits for limit, digits in ((1, 3), (10, 2), (100, 1)) if value < limit), 0)
    return f"{value:,.{digits}f}"


def rate(flops_per_second):
    """Writes a rate of arithmetic with its unit."""
    for unit, size in (("TFLOP/s", 1e12), ("GFLOP/s", 1e9)):
        if flops_per_second >= size:
            return f"{flops_per_second / size:.3g} {unit}"
    return f"{flops_per_second / 1e6:.3g} MFLOP/s"


def arithmetic(run):
    """Says what a run achieves of a matrix product's rate."""
    of = f"a float32 matrix product's {rate(run['matrix_product_flops_per_second'])}"
    if run["flops_per_second"] is None:
        return f"not counted ({run['not_counted']})"
    return f"{rate(run['flops_per_second'])}, {run['fraction_of_matrix_product']:.0%} of {of}"


def memory(run):
    """Says how much memory a process has used at most."""
    text = f"{run['peak_memory_bytes'] / _GIB:.2f} GiB"
    if run["peak_gpu_memory_bytes"] is not None:
        text += f", a GPU {run['peak_gpu_memory_bytes'] / _GIB:.2f} GiB"
    return text


def _rate(summary):
    return summary["images_per_second"]["median"]


def _run_lines(run):
    parts = {name: milliseconds(seconds) for name, seconds in run["step_seconds"].items()}
    ready = run["setup_seconds"] + run["first_step_seconds"]
    rows = {
        f"as configured (compile mode {run['compile_mode']}, {run['steps_per_loop']} steps per loop)": "",
        "images/s": _spread(run),
        "step": f"{parts['total']} ms: input {parts['input']}, compute {parts['compute']}, host "
        f"{parts['host']}",
        "time to first step": f"{ready:.1f} s, {run['first_step_seconds']:.1f} of it tracing and compiling",
        "peak memory": memory(run),
        "arithmetic": arithmetic(run),
    }
    return [f"  {name:<18} {text}" if text else name for name, text in rows.items()]


def _spread(summary):
    spread = summary["images_per_second"]
    return f"{spread['median']:,.0f} ({spread['lowest']:,.0f} to {spread['highest']:,.0f})"


def _comparison_lines(column, varied, rows):
    scaling = varied == "num_replicas"
    head = [column, "images/s", "step ms", "input", "compute", "host", "first step s", "peak GiB"]
    table, reasons = [head + (["batch", "mode", "efficiency"] if scaling else [])], []
    for row in rows:
        if "reason" in row:
            reasons.append(f"  {row[varied]}: {row['reason']}")
            continue
        cells = [
            str(row[varied]),
            _spread(row),
            *(milliseconds(row["step_seconds"][part]) for part in ("total", "input", "compute", "host")),
            f"{row['first_step_seconds']:.1f}",
            f"{row['peak_memory_bytes'] / _GIB:.2f}",
        ]
        if scaling:
            cells += [str(row["batch_size"]), row["compile_mode"], f"{row['efficiency']:.0%}"]
        table.append(cells)
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = [
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in table
    ]
    return [*(lines if len(lines) > 1 else []), *reasons]
