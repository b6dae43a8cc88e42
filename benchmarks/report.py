"""From measurements to Markdown: pure functions of what `benchmarks.run` measured."""

import statistics

from benchmarks import lines, load
from benchmarks.targets import best_peer, find, lead, of_matrix_product, rates, targets, title
from benchmarks.workloads import WORKLOADS

_EXPLANATION = """\
Written by `{command}`; [docs/benchmark.md](../docs/benchmark.md) says how to repeat it.

All programs train the same net (with equal numbers of trainable parameters) on the same uint8 images
with the same batch, in float32, with Adam and with the number of threads that each program picks by
default (DDP: one process with one thread for each core). One program trains at a time. vaeflow is measured
alone first; then each program takes turns with it, round after round.

- **images/s**: the median over the rounds, with the smallest and the largest.
- **vaeflow's lead**: vaeflow's images/s, divided by the program's in the same round; the rounds' median.
- **tuned allocator**: with glibc's allocator set through the environment, as vaeflow sets it for itself.
- **memory**: peak resident memory, of all processes of a program.
- **start**: from the command to the end of the first training step (JAX, scan: of the first call), once.
- **resume**: from the command to the end of the first step after the state was restored. PyTorch's is
  written by hand with `torch.save`, Keras' is `BackupAndRestore`.
- **others**: the share of the cores that other processes used while the program trained, the median over
  the rounds. PyTorch's threads spin while they wait for one another, so a busy machine slows PyTorch down far
  more than TensorFlow. If a program had less than 90 % of the cores for itself, its figures mean nothing, and
  no target is judged by it.

The files in `benchmarks/programs` say what the programs have in common and where they differ."""

_PEERS = [name for names in lines.PEERS.values() for name in names]
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
        _EXPLANATION.format(command=command(report)),
        _table(("machine", ""), report["machine"].items()),
        _table(("version", ""), report["versions"].items()),
        f"Rounds: {settings['num_rounds']}, {settings['seconds']:g} s of vaeflow and of the program in each.",
        "## Targets",
        _targets_table(targets(report["workloads"], settings["num_cores"])),
    ]
    for name, measured in report["workloads"].items():
        parts += [f"## {name}", _workload_text(name, measured, settings["num_cores"])]
    return "\n\n".join(parts) + "\n"


def command(report):
    """Returns the command that measures what a report has."""
    settings = report["settings"]
    every = [line for measured in report["workloads"].values() for line in measured["lines"]]
    are_all = any(line["name"] in _PEERS and not line["tuned_allocator"] for line in every)
    text = f"python -m benchmarks.run --rounds={settings['num_rounds']} --seconds={settings['seconds']:g}"
    return f"{text} --all" if are_all else text


def speed_table(workloads):
    """Writes the rates in short: a row for each workload, with the best program of each library.

    Args:
      workloads: as `results` of `targets`.
    """
    header = ("net", *lines.PEERS, "vaeflow", "vs. the best")
    return _table(header, [_short_row(name, measured) for name, measured in workloads.items()])


def _short_row(name, measured):
    shown = [best_peer(measured, names) for names in lines.PEERS.values()]
    shown.append(find(measured, lines.VAEFLOW))
    best = lead(best_peer(measured))
    return (_TITLES[name], *map(_median, shown), "–" if best is None else f"{best:.2f} ×")


def _median(line):
    if line is None or line["failure"]:
        return "–"
    return f"{statistics.median(rates(line['windows'])):,.0f}"


def _workload_text(name, measured, num_cores):
    every = lines.lines_of(WORKLOADS[name], everything=True)
    order = {(line.name, line.tuned_allocator): place for place, line in enumerate(every)}
    shown = [line for line in measured["lines"] if line["name"] != lines.MATRIX_PRODUCT]
    shown.sort(key=lambda line: order[line["name"], line["tuned_allocator"]])
    parameters = next((line["parameters"] for line in shown if line["parameters"]), None)
    first = f"Batch {WORKLOADS[name].batch_size}"
    first += f", {parameters:,} trainable parameters" if parameters else ""
    if (part := of_matrix_product(measured)) is not None:
        flops = find(measured, lines.VAEFLOW)["flops_per_step"]
        products = find(measured, lines.MATRIX_PRODUCT)["windows"]
        first += (
            f"; vaeflow's {flops / 1e9:,.2f} GFLOP a step ran at {part:.0%} of the best matrix product, "
            f"{statistics.median(each['flops_per_second'] for each in products) / 1e9:,.0f} GFLOP/s"
        )
    header = ("program", "images/s", "vaeflow's lead", "memory, MiB", "start, s", "resume, s", "others")
    text = f"{first}.\n\n{_table(header, [_row(line, num_cores) for line in shown])}"
    return f"{text}\n\n{_NOTES[name]}" if name in _NOTES else text


def _row(line, num_cores):
    others = load.by_others(line["windows"], num_cores)
    ratio = lead(line) if line["name"] != lines.VAEFLOW else None
    return (
        title(line),
        _images_per_second(line),
        "–" if ratio is None else f"{ratio:.2f}",
        _number(line["peak_mebibytes"]),
        _number(line["start_seconds"], 1),
        _resume(line),
        "–" if others is None else f"{others:.0%}",
    )


def _images_per_second(line):
    if line["failure"]:
        return f"failed: {_one_cell(line['failure'])}"
    values = rates(line["windows"])
    return f"{_median(line)} ({min(values):,.0f}–{max(values):,.0f})"


def _resume(line):
    if line["resume_failure"]:
        return f"failed: {_one_cell(line['resume_failure'])}"
    return _number(line["resume_seconds"], 1)


def _number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def _one_cell(text):
    return text.replace("|", "/")[:100]


def _targets_table(rows):
    cells = [(row["workload"], row["target"], row["measured"], row["verdict"]) for row in rows]
    return _table(("workload", "target", "measured", ""), cells)


def _table(header, rows):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
