"""From measurements to tables and targets: pure functions of what `benchmarks.run` measured."""

import statistics

from benchmarks import lines, load
from benchmarks.workloads import WORKLOADS

_MOST_COST_OF_REPLICAS = 0.10

_EXPLANATION = """\
Written by `python -m benchmarks.run`; BUILD.md says how to repeat it.

Every program trains the same net (the numbers of trainable parameters are equal) on the same uint8
images with the same batch, in float32 with Adam and the number of threads that it picks for itself.
All stay alive, one trains at a time, and they take turns. **images/s**: the median over the rounds, with the
least and the most. **times pythae**: the median over the rounds of the ratio to pythae's default in
the same round. **tuned allocator**: with glibc's allocator set through the environment as vaeflow
sets it for itself. **memory**: the most that was resident, default / tuned. **start**: from the
command to the end of the first training step, measured once. **resume**: from the command to the
end of the first step after the state that was restored; PyTorch's is written by hand with
`torch.save`, Keras' is `BackupAndRestore`, pythae has none. The files in `benchmarks/programs` say
what is the same in each program and what is not.

**others**: the part of the cores that other processes used while a program trained. PyTorch's
threads spin while they wait for one another, so that it loses far more to a busy machine than
TensorFlow does: where others used more than 10 %, no target is judged, and the ratios mean nothing."""

_NOTES = {
    "factor64_64": "pythae's FactorVAE trains the VAE on one half of a batch and takes the permuted latents "
    "from the other: it decodes 32 of 64 images, where the other programs decode all 64, and has 60 % of "
    "their operations in a step.",
}


def rates(line):
    """Returns a line's images per second, one for each round."""
    return [window["images"] / window["seconds"] for window in line["windows"]]


def times(line, other):
    """Returns how many times as fast one line is as another: the median of the rounds' ratios.

    Args:
      line, other: entries of `lines`.

    Returns:
      A float, or None where one of them is None or failed.
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
    """Returns the part of the matrix product's rate that vaeflow reached, the median of the rounds."""
    line, products = find(measured, lines.VAEFLOW), measured["matrix_product"]
    if line["failure"] or not products:
        return None
    pairs = zip(line["windows"], products, strict=True)
    return statistics.median(
        window["steps"] * line["flops_per_step"] / window["seconds"] / product for window, product in pairs
    )


def by_others(measured, num_cores):
    """Returns the part of the cores that others used while this workload's lines trained, or None."""
    windows = [window for line in measured["lines"] if not line["failure"] for window in line["windows"]]
    return load.by_others(windows, num_cores)


def targets(results, num_cores):
    """Compares what was measured with what is aimed at.

    Args:
      results: a dict, name of a workload -> what `measure` returned.
      num_cores: how many cores the programs had.

    Returns:
      A list of dicts: `workload`; `target` and `measured`, texts; `verdict`, `"reached"`, `"missed"`,
      `"not measured"`, or `"not judged: …"` where the machine was busy with something else.
    """
    rows = []

    def add(workload, target, value, reached, text):
        others = by_others(results[workload], num_cores)
        if value is None:
            verdict = "not measured"
        elif others > load.MOST_BY_OTHERS:
            verdict = f"not judged: others used {others:.0%} of the cores"
        else:
            verdict = "reached" if reached(value) else "missed"
        measured = "–" if value is None else text.format(value)
        rows.append({"workload": workload, "target": target, "measured": measured, "verdict": verdict})

    for name, measured in results.items():
        workload, vaeflow = WORKLOADS[name], find(measured, lines.VAEFLOW)
        least = workload.times_pythae
        ratio = times(vaeflow, find(measured, lines.PYTHAE))
        add(name, f"at least {least:.1f} times pythae", ratio, lambda v: v >= least, "{:.2f} times")
        ratio, best = _against_best_torch(measured)
        target = f"at least the best PyTorch line{best}"
        add(name, target, ratio, lambda v: v >= 1.0, "{:.2f} times")
        if workload.of_matrix_product is not None:
            part = workload.of_matrix_product
            target = f"at least {part:.0%} of the matrix product's rate"
            add(name, target, of_matrix_product(measured), lambda v: v >= part, "{:.0%}")
        if workload.on_replicas:
            cost = cost_of_replicas(measured)
            target = f"2 CPU replicas cost at most {_MOST_COST_OF_REPLICAS:.0%} more time than 1"
            add(name, target, cost, lambda v: v <= _MOST_COST_OF_REPLICAS, "{:+.0%}")
    return rows


def cost_of_replicas(measured):
    """Returns how much more time an image takes on two replicas than on one, a fraction, or None."""
    ratio = times(find(measured, lines.VAEFLOW), find(measured, lines.TWO_REPLICAS))
    return None if ratio is None else ratio - 1.0


def markdown(report):
    """Writes the whole report as Markdown.

    Args:
      report: a dict: `machine` and `versions`, dicts of texts; `settings`, with `num_rounds`,
        `seconds` and `num_cores`; `workloads`, as `results` of `targets`.
    """
    settings = report["settings"]
    parts = [
        "# vaeflow and its peers",
        _EXPLANATION,
        _table(("machine", ""), report["machine"].items()),
        _table(("version", ""), report["versions"].items()),
        f"Rounds: {settings['num_rounds']}, each with {settings['seconds']:g} s of every program.",
        "## Targets",
        _targets_table(targets(report["workloads"], settings["num_cores"])),
    ]
    for name, measured in report["workloads"].items():
        parts += [f"## {name}", _workload_text(name, measured, settings["num_cores"])]
    return "\n\n".join(parts) + "\n"


def _against_best_torch(measured):
    """Returns vaeflow's ratio to the PyTorch line that is fastest by its default, and that line's name."""
    vaeflow = find(measured, lines.VAEFLOW)
    ratios = {name: times(vaeflow, find(measured, name)) for name in lines.TORCH}
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    if not known:
        return None, ""
    best = min(known, key=known.get)
    return known[best], f" ({best.removeprefix('PyTorch, ')})"


def _workload_text(name, measured, num_cores):
    workload = WORKLOADS[name]
    parameters = measured["parameters"]
    first = f"Batch {workload.batch_size}" + (f", {parameters:,} trainable parameters" if parameters else "")
    part, products = of_matrix_product(measured), measured["matrix_product"]
    if part is not None:
        flops = find(measured, lines.VAEFLOW)["flops_per_step"]
        first += (
            f"; vaeflow's {flops / 1e9:,.2f} GFLOP a step ran at {part:.0%} of the best matrix product, "
            f"{statistics.median(products) / 1e9:,.0f} GFLOP/s"
        )
    others = by_others(measured, num_cores)
    if others is not None:
        first += f"; others used {others:.0%} of the cores"
    header = (
        "program", "images/s", "times pythae", "images/s, tuned allocator", "times pythae", "memory, MiB",
        "start, s", "resume, s",
    )  # fmt: skip
    pythae = find(measured, lines.PYTHAE)
    rows = [_row(line, measured, pythae) for line in measured["lines"] if not line["tuned_allocator"]]
    text = f"{first}.\n\n{_table(header, rows)}"
    return f"{text}\n\n{_NOTES[name]}" if name in _NOTES else text


def _row(line, measured, pythae):
    is_vaeflow = line["name"] in (lines.VAEFLOW, lines.TWO_REPLICAS)
    tuned = find(measured, line["name"], tuned_allocator=True)
    memory = [_number(each["peak_mebibytes"]) for each in (line, tuned) if each is not None]
    return (
        line["name"],
        _images_per_second(line),
        _ratio(times(line, pythae)),
        "tunes it itself" if is_vaeflow else _images_per_second(tuned),
        "" if is_vaeflow else _ratio(times(tuned, pythae)),
        " / ".join(memory),
        _number(line["start_seconds"], 1),
        _resume(line),
    )


def _images_per_second(line):
    if line is None or line["failure"]:
        return f"failed: {_one_cell(line['failure'])}" if line else "–"
    values = rates(line)
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def _resume(line):
    if line["name"] == lines.PYTHAE:
        return "none"
    if line["resume_failure"]:
        return f"failed: {_one_cell(line['resume_failure'])}"
    return _number(line["resume_seconds"], 1)


def _ratio(value):
    return "–" if value is None else f"{value:.2f}"


def _number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def _one_cell(text):
    return text.replace("|", "/")[:100]


def _targets_table(rows):
    cells = [(row["workload"], row["target"], row["measured"], row["verdict"]) for row in rows]
    return _table(("workload", "target", "measured", ""), cells)


def _table(header, rows):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
