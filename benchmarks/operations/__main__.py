"""Measures where the processor time of a training step goes, by kind of operation, and writes the table.

    python -m benchmarks.operations
    python -m benchmarks.operations --workloads=resnet64_64 --results=/tmp/operations

Each workload trains in a fresh process on one core, on the half of its batch that this core would get of two.
`python -m benchmarks.sprites` draws the images before. The table goes to benchmarks/operations.md, and every
number to operations.json beside it. It takes about two minutes; let nothing else run meanwhile.
"""

import os
import pathlib
import sys

from absl import flags

from benchmarks import environments
from benchmarks.operations import process
from benchmarks.processes import REPOSITORY
from benchmarks.workloads import WORKLOADS
from vaeflow.commands import command_line
from vaeflow.devices import allocator
from vaeflow.errors import ConfigurationError
from vaeflow.registry import did_you_mean
from vaeflow.runs import asking, files, json_files

_CORES = 2
_KINDS = (process.PRODUCTS, process.COMPILED, process.OTHERS, process.UPDATE)
_EXPLANATION = """\
Written by `python -m benchmarks.operations`; [docs/benchmark.md](../docs/benchmark.md) says how to repeat it.

Each workload trains on one core of a CPU, on the half of its batch that this core would get of two, in
float32. TensorFlow's profiler says how long each operation took.

- **step**: the time of a training step, without the profiler.
- **operations**: how many a step runs. What XLA compiles together counts as one; what only hands on a tensor
  or a shape, such as Reshape, does not count, since the profiler leaves it out.
- **convolutions, products**: their share of the time of all operations, forward and backward. The last
  columns say how many floating-point operations they do in a second, and what part that is of the rate of a
  product of large square matrices on the same core.
- **compiled by XLA**: what group normalization and SiLU do to single features, and what convolutions of grey
  images do besides their products.
- **sums, norm, update**: the sum over the parts of a batch, the norm of the gradient, and Adam.
- **other operations**: activations, biases, sums over features, noise, likelihoods …"""


def define_flags(values):
    """Adds the flags of this command."""
    flags.DEFINE_list("workloads", list(WORKLOADS), f"Some of {', '.join(WORKLOADS)}.", flag_values=values)
    flags.DEFINE_float("seconds", 2.0, "How long a matrix product is measured.", 0.01, flag_values=values)
    flags.DEFINE_string(
        "results", str(REPOSITORY / "benchmarks"), "The folder of the tables.", flag_values=values
    )


def run(values):
    """Measures each workload, and writes the tables."""
    for name in values.workloads:
        if name not in WORKLOADS:
            raise ConfigurationError(f"no workload is called {name!r}{did_you_mean(name, list(WORKLOADS))}")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    found = {
        "machine": environments.machine(),
        "versions": environments.versions_of_vaeflow(),
        "workloads": {},
    }
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # Of the processes too.
    for name in values.workloads:
        print(f"measuring: {name}", file=sys.stderr)
        request = {
            "workload": name,
            "batch_size": WORKLOADS[name].batch_size // _CORES,
            "seconds": values.seconds,
        }
        environment = allocator.tuned(os.environ)
        found["workloads"][name] = request | asking.ask(
            "benchmarks.operations.process", request, "a measuring process", environment
        )
    folder = pathlib.Path(values.results)
    folder.mkdir(parents=True, exist_ok=True)
    json_files.write(folder / "operations.json", found)
    files.write_text(folder / "operations.md", as_markdown(found))
    print(f"written to {folder / 'operations.md'} and operations.json")


def as_markdown(found):
    """Writes the tables of what was measured."""
    head = [
        "workload", "images", "step, ms", "operations", *_KINDS, "products, GFLOP/s", "of a matrix product"
    ]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for name, measured in found["workloads"].items():
        total = sum(measured["seconds"].values())
        shares = [measured["seconds"].get(kind, 0.0) / total for kind in _KINDS]
        rate = measured["step_flops"] / measured["seconds"][process.PRODUCTS]
        rows.append([
            name, str(measured["batch_size"]), f"{measured['step_seconds'] * 1e3:,.1f}",
            f"{measured['num_operations']:,.0f}",
            *(f"{share:.0%}" for share in shares),
            f"{rate / 1e9:,.0f}", f"{rate / measured['matrix_product_flops_per_second']:.0%}",
        ])  # fmt: skip
    lines = [f"| {' | '.join(row)} |" for row in rows]
    facts = [f"| {name} | {text} |" for name, text in (found["machine"] | found["versions"]).items()]
    longest = [
        f"- {name}: " + ", ".join(f"{kind} {seconds * 1e3:,.2f} ms" for kind, seconds in measured["longest"])
        for name, measured in found["workloads"].items()
    ]
    parts = [
        "# Where the time of a step goes", _EXPLANATION,
        "\n".join(["| machine |  |", "| --- | --- |", *facts]), "\n".join(lines),
        "The types of operation that take longest, of a step:",
        "\n".join(longest),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


COMMAND = command_line.Command("operations", __doc__, run, define_flags=define_flags)

if __name__ == "__main__":
    sys.exit(command_line.main(COMMAND, sys.argv[1:], prefix="python -m benchmarks."))
