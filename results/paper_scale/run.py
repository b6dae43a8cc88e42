"""Computes what the autoencoders of latent diffusion need, checks it by measuring, and writes the tables.

    python -m results.paper_scale.run
    python -m results.paper_scale.run --sizes=32,64 --rate=5e13

The nets are those of Rombach et al. 2022 (arXiv:2112.10752) for f = 8 and f = 16, without the discriminator
and the perceptual net. For pictures of 256x256 in batches of 12 the graph of a training step is
traced, and its operations and its peak of memory are counted (`vaeflow/profiling/flops.py` and
`memory.py`). For small pictures, one at a time, a step also runs on the CPU, each in a process of its own
whose allocator gives memory back at once, and the two are compared.

Writes a record NAME.json of each step to this folder, and the tables from all records into the page
docs/paper_scale.md. Records that are there are kept, so a run that was stopped goes on. A step takes one to
two minutes on 2 idle cores, by the processor time of the first ones, and the largest about 4 GiB of memory.
"""

import argparse
import itertools
import json
import os
import pathlib
import subprocess
import sys

from results.arguments import numbers

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "paper_scale.md"
# Between these lines the page has the tables.
BEGIN, END = "<!-- made by results.paper_scale.run -->\n", "<!-- end -->\n"
SETTINGS = ("f8", "f16")
PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16"}
RATE = 1e14  # Operations per second, for which the page has the times.
_GIB = 2**30
# See proc(5) and mallopt(3): what is freed is no longer resident.
_GIVING_BACK = "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072"


def cases(sizes):
    """Lists what is computed and measured, name -> request for `step.py`."""
    found = {}
    for setting, recompute in itertools.product(SETTINGS, (False, True)):
        switch = "-recompute" if recompute else ""
        shared = {"setting": setting, "recompute": recompute}
        for size in sizes:
            request = shared | {"size": size, "batch_size": 1, "measured": True}
            found[f"{setting}-{size}{switch}"] = request
        for precision in PRECISIONS:
            request = shared | {"size": 256, "batch_size": 12, "precision": precision, "measured": False}
            found[f"{setting}-256-{PRECISIONS[precision]}{switch}"] = request
    return found


def record(request):
    """Computes, and measures, one step in a fresh process; returns the request with what was found."""
    environment = os.environ | {"GLIBC_TUNABLES": _GIVING_BACK, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "results.paper_scale.step", json.dumps(request)]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return request | json.loads(finished.stdout)


def table(records, rate):
    """Writes the records as Markdown: first the large pictures, then how well small ones were computed.

    Args:
      records: a list of dicts, as `record` returns them.
      rate: operations per second with which the time of a step is reckoned.
    """
    large = [each for each in records if not each["measured"]]
    small = [each for each in records if each["measured"]]
    lines = [
        f"| 256x256, batch 12 | recompute | weights | Adam | step | all | TFLOP | at {rate:.0e}/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in sorted(large, key=_order):
        parts = [each["weights"], each["optimizer"], each["working"]]
        memory = " | ".join(f"{size / _GIB:.1f} GiB" for size in (*parts, sum(parts)))
        name = f"{each['setting']}, {PRECISIONS[each['precision']]}"
        seconds = each["flops"] / rate
        lines.append(
            f"| {name} | {_switch(each)} | {memory} | {each['flops'] / 1e12:.1f} | {seconds:.2f} s |"
        )
    lines += [
        "",
        "| batch 1, float32 | recompute | step, computed | measured | ratio | GFLOP | core seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in sorted(small, key=_order):
        computed, measured = each["working"], each["measured_working"]
        memory = f"{computed / 1e6:,.0f} MB | {measured / 1e6:,.0f} MB | {computed / measured:.2f}"
        name = f"{each['setting']}, {each['size']}x{each['size']}"
        cost = f"{each['flops'] / 1e9:,.0f} | {each['core_seconds']:.1f}"
        lines.append(f"| {name} | {_switch(each)} | {memory} | {cost} |")
    return "\n".join(lines) + "\n"


def _order(each):
    return SETTINGS.index(each["setting"]), each["size"], each.get("precision", ""), each["recompute"]


def _switch(each):
    return "yes" if each["recompute"] else "no"


def main(arguments):
    """Makes the records that are missing, and writes the tables; returns the exit code."""
    options = _parse(arguments)
    for name, request in cases(options.sizes).items():
        path = options.results / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(record(request), indent=2) + "\n", encoding="utf-8")
    records = [json.loads(path.read_text("utf-8")) for path in sorted(options.results.glob("*.json"))]
    before, _, rest = options.page.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    options.page.write_text(before + BEGIN + table(records, options.rate) + END + after, encoding="utf-8")
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m results.paper_scale.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--sizes",
        type=numbers,
        default=[32, 64, 128],
        help="of the pictures that are measured; default: 32,64,128",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=RATE,
        help="operations per second of the device for which the time is reckoned; default: 1e14",
    )
    parser.add_argument("--results", type=pathlib.Path, default=HERE, help="the folder of the records")
    parser.add_argument("--page", type=pathlib.Path, default=PAGE, help="the page that gets the tables")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
