"""From measurements to Markdown: pure functions of what `benchmarks.run` measured."""

import statistics

from benchmarks import lines, load
from benchmarks.targets import find, of_matrix_product, rates, targets, times
from benchmarks.workloads import WORKLOADS

_EXPLANATION = """\
Written by `python -m benchmarks.run`; [docs/benchmark.md](../docs/benchmark.md) says how to repeat it.

All programs train the same net (with equal numbers of trainable parameters) on the same uint8 images
with the same batch, in float32, with Adam and with the number of threads that each program picks by
default. All programs stay alive and train in turn, one at a time.

- **images/s**: the median over the rounds, with the smallest and the largest.
- **times pythae**: the median over the rounds of the ratio to pythae's default in the same round.
- **tuned allocator**: with glibc's allocator set through the environment, as vaeflow sets it for itself.
- **memory**: peak resident memory, default / tuned.
- **start**: from the command to the end of the first training step, measured once.
- **resume**: from the command to the end of the first step after the state was restored. PyTorch's is
  written by hand with `torch.save`, Keras' is `BackupAndRestore`, pythae has none.
- **others**: the share of the cores that other processes used while a program trained, the median over
  the rounds, default / tuned. PyTorch's threads spin while they wait for one another, so a busy machine
  slows PyTorch down far more than TensorFlow. If a program had less than 90 % of the cores for itself,
  its ratios mean nothing, and no target is judged by it.

The files in `benchmarks/programs` say what the programs have in common and where they differ."""

_TITLES = {
    "dense_128": "dense 784-400-20, batch 128",
    "dense_512": "the same, batch 512",
    "conv28_128": "convolutional 28x28, batch 128",
    "conv64_64": "convolutional 64x64 (Burgess et al. 2018), batch 64",
    "conv64_256": "the same, batch 256",
    "resnet64_64": "residual 64x64 RGB, batch 64",
    "factor64_64": "FactorVAE 64x64, batch 64",
}
_NOTES = {
    "factor64_64": "pythae's FactorVAE trains the VAE on one half of a batch and takes the permuted latents "
    "from the other: it decodes 32 of 64 images, while the other programs decode all 64, and needs 60 % of "
    "their operations in a step.",
}


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


def speed_table(workloads):
    """Writes the rates in short: a row for each workload, with the best of PyTorch's lines.

    Args:
      workloads: as `results` of `targets`.
    """
    header = ("net", "pythae 0.1.2", "Keras `fit`", "best PyTorch", "vaeflow", "vs. pythae", "vs. PyTorch")
    return _table(header, [_short_row(name, measured) for name, measured in workloads.items()])


def _short_row(name, measured):
    vaeflow, keras, pythae = (find(measured, line) for line in (lines.VAEFLOW, lines.KERAS, lines.PYTHAE))
    every_torch = [find(measured, line) for line in lines.TORCH]
    torch = min((line for line in every_torch if line), key=lambda line: times(vaeflow, line))
    medians = [f"{statistics.median(rates(line)):,.0f}" for line in (pythae, keras, torch, vaeflow)]
    return (_TITLES[name], *medians, *(f"{times(vaeflow, line):.2f} ×" for line in (pythae, torch)))


def _workload_text(name, measured, num_cores):
    workload = WORKLOADS[name]
    parameters = measured["parameters"]
    first = f"Batch {workload.batch_size}" + (f", {parameters:,} trainable parameters" if parameters else "")
    part, products = of_matrix_product(measured), measured["matrix_product"]
    if part is not None:
        flops = find(measured, lines.VAEFLOW)["flops_per_step"]
        first += (
            f"; vaeflow's {flops / 1e9:,.2f} GFLOP a step ran at {part:.0%} of the best matrix product, "
            f"{statistics.median(each['flops_per_second'] for each in products) / 1e9:,.0f} GFLOP/s"
        )
    header = (
        "program", "images/s", "times pythae", "images/s, tuned allocator", "times pythae", "memory, MiB",
        "start, s", "resume, s", "others",
    )  # fmt: skip
    pythae = find(measured, lines.PYTHAE)
    defaults = [line for line in measured["lines"] if not line["tuned_allocator"]]
    rows = [_row(line, measured, pythae, num_cores) for line in defaults]
    text = f"{first}.\n\n{_table(header, rows)}"
    return f"{text}\n\n{_NOTES[name]}" if name in _NOTES else text


def _row(line, measured, pythae, num_cores):
    is_vaeflow = line["name"] in (lines.VAEFLOW, lines.TWO_REPLICAS)
    tuned = find(measured, line["name"], tuned_allocator=True)
    both = [each for each in (line, tuned) if each is not None]
    memory = [_number(each["peak_mebibytes"]) for each in both]
    others = [load.by_others(each["windows"], num_cores) for each in both]
    return (
        line["name"],
        _images_per_second(line),
        _ratio(times(line, pythae)),
        "tunes it itself" if is_vaeflow else _images_per_second(tuned),
        "" if is_vaeflow else _ratio(times(tuned, pythae)),
        " / ".join(memory),
        _number(line["start_seconds"], 1),
        _resume(line),
        " / ".join("–" if part is None else f"{part:.0%}" for part in others),
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
