"""PyTorch and JAX on a GPU, or on the CPU in a rehearsal, for `benchmarks.gpu`: one after the other."""

import dataclasses
import math
import pathlib
import statistics
import subprocess
import time

from benchmarks import lines, targets
from benchmarks.lines import Line
from benchmarks.processes import Program, ProgramError
from benchmarks.utilization import Sampler
from benchmarks.workloads import WORKLOADS, gin_file
from vaeflow.runs import watchdog

# Of the peers -> of vaeflow.
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_WARM_UP_SECONDS = 1.0
_NEEDS = {"torch_loop": ("torch",), "jax_loop": ("jax", "optax")}
_HEAD = ["program", "precision", "images/s", "vaeflow's lead", "GPU busy", "start, s"]


def workload_of(file):
    """Returns the name of the workload whose gin file this is, or None."""
    path = pathlib.Path(file).resolve()
    return next((name for name in WORKLOADS if gin_file(name).resolve() == path), None)


def lines_of(workload, device, python):
    """Lists the lines of a `Workload` whose libraries an interpreter has.

    Args:
      workload: see above.
      device: `"gpu"` or `"cpu"`.
      python: the interpreter.
    """
    eager = "eager" if workload.kind == "dense" else "channels_last"
    ways = [
        (lines.TORCH_EAGER, "torch_loop", eager),
        (lines.TORCH_COMPILE, "torch_loop", "compile"),
        (lines.JAX_STEP, "jax_loop", "step"),
        (lines.JAX_SCAN, "jax_loop", "scan"),
    ]
    if device == "gpu":
        ways.insert(2, ("PyTorch, CUDA graphs", "torch_loop", "compile_graphs"))
    able = [way for way in ways if _has(python, way[1])]
    return [
        Line(name, module, variant, device=device, precision=precision, of_peers=True)
        for precision in PRECISIONS
        for name, module, variant in able
    ]


def measure(name, line, python, settings):
    """Measures one line.

    Args:
      name: of the workload.
      line: a `Line`.
      python: the interpreter.
      settings: a `Settings`.

    Returns:
      A dict for JSON: `program` and `precision`; `windows`, what it did in each round; `parameters`;
      `start_seconds`; `utilization`, of the GPU in percent, or None. If it failed, `reason` in their place.
    """
    told = {"program": line.name, "precision": line.precision}
    title = f"{name} {line.name} {line.precision}".replace(",", "").replace(" ", "_").lower()
    folder = settings.folder / "peers" / title
    watchdog.progress(f"{title}, of which each answer has a limit", math.inf)
    try:
        with Program(line, python, name, folder) as program:
            program.run(_WARM_UP_SECONDS)
            with Sampler() as sampler:
                windows = [_window(program, settings.seconds) for _ in range(settings.num_rounds)]
            facts = program.facts
            return told | {
                "windows": windows,
                "parameters": facts["parameters"],
                "start_seconds": program.start_seconds,
                "utilization": sampler.busiest(windows, 1) if line.device == "gpu" else None,
            }
    except ProgramError as failed:
        return told | {"reason": str(failed)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
      num_rounds: how often each program trains.
      seconds: how long it trains each time.
      folder: where programs keep their logs.
    """

    num_rounds: int
    seconds: float
    folder: pathlib.Path


def as_markdown(rows, own_rates, parameters):
    """Writes the table of the peers of a workload.

    Args:
      rows: what `measure` returned for each.
      own_rates: precision, as vaeflow calls it -> vaeflow's best images/s on one device.
      parameters: how many trainable ones vaeflow's net has.
    """
    done = [row for row in rows if "reason" not in row]
    same = [row for row in done if row["parameters"] == parameters]
    cells = [_HEAD, ["---"] * len(_HEAD), *(_cells(row, own_rates) for row in same)]
    text = ["| " + " | ".join(each) + " |" for each in cells] if same else []
    for row in rows:
        if row not in same:
            reason = (
                row.get("reason") or f"it trains {row['parameters']:,} parameters, vaeflow {parameters:,}"
            )
            text += ["", f"Not measured: {row['program']}, {row['precision']}: {reason}"]
    return "\n".join(text) + "\n"


def _cells(row, own_rates):
    rates = targets.rates(row["windows"])
    own, busy = own_rates.get(PRECISIONS[row["precision"]]), row["utilization"]
    return [
        row["program"],
        row["precision"],
        f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
        "–" if own is None else f"{own / statistics.median(rates):.2f}",
        "" if busy is None else f"{busy:.0f}%",
        f"{row['start_seconds']:.1f}",
    ]


def _window(program, seconds):
    answer = program.run(seconds)
    return answer | {"started_at": time.time() - answer["seconds"]}


def _has(python, module):
    """Whether an interpreter finds what a program needs."""
    code = "import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))"
    done = subprocess.run([python, "-c", code, *_NEEDS[module]], stderr=subprocess.DEVNULL)
    return done.returncode == 0
