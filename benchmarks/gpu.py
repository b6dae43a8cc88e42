"""Measures vaeflow on GPUs: precisions, compile modes, data on the device or streamed, one GPU and all.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --gin_file=configs/conv_vae.gin --gin_file=configs/beta_vae.gin
    python -m benchmarks.gpu --virtual_devices=2 --seconds=1     # a rehearsal on a CPU

Each gin file is a workload; without any, those in benchmarks/workloads are. On all GPUs the
batch of each is the same as on one (weak scaling). On the files of benchmarks/workloads, as they are, PyTorch
(eager, compiled, as CUDA graphs) and JAX (a jitted step, lax.scan) are measured too, in float32 and
bfloat16, on one GPU, where they are installed. `python -m benchmarks.sprites` draws the images before.

Writes gpu.md, which it also prints, and gpu.json to runs/benchmark-gpu, or where --workdir says. The rate of
float32 products, with which all is compared, is that of TensorFlow's default: TensorFloat-32 where the GPU
has it.
"""

import dataclasses
import itertools
import json
import pathlib
import sys

import tensorflow as tf
from absl import flags

from benchmarks import gpu_peers
from benchmarks.utilization import Sampler
from benchmarks.workloads import WORKLOADS
from vaeflow import config
from vaeflow.commands import command_line
from vaeflow.errors import ConfigurationError, RunError
from vaeflow.profiling import cases, report
from vaeflow.profiling.cases import Case
from vaeflow.profiling.processes import Measurer
from vaeflow.runs import files
from vaeflow.training import making

_WORKLOADS = pathlib.Path(__file__).parent / "workloads"
_PRECISIONS = ("float32", "mixed_bfloat16")
_HEAD = [
    "precision", "mode", "data", "devices", "batch", "images/s", "step, ms", "GPU busy", "FLOP/s",
    "of a float32 product", "efficiency",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to train a workload."""

    precision: str
    compile_mode: str
    resident: bool
    devices: int

    def case(self, batch_size):
        """Makes the `Case`, with a batch of `batch_size` on each device."""
        changes = {
            "precision": self.precision,
            "compile_mode": self.compile_mode,
            "resident_data": self.resident,
            "batch_size": batch_size * self.devices,
        }
        return Case(tuple(changes.items()), self.devices)


def variants(resident, num_devices):
    """Lists what is measured of a workload.

    Args:
      resident: whether its data can be on the device.
      num_devices: the number of GPUs, or of virtual devices.
    """
    places = (True, False) if resident else (False,)
    counts = sorted({1, num_devices})
    every = itertools.product(_PRECISIONS, counts, places, ("none", "step", "loop"))
    return [
        Variant(precision, mode, place, count)
        for precision, count, place, mode in every
        if cases.why_not(mode, count, place) is None
    ]


def measure_workload(measurer, batch_size, num_devices, rounds):
    """Measures all variants of a workload, in rounds.

    Args:
      measurer: a `Measurer`.
      batch_size: on one device.
      num_devices: the number of GPUs, or of virtual devices.
      rounds: how often each is measured.

    Returns:
      A list of dicts, one for each variant: its fields, and what `report.summarize`
      gives, with `utilization`, `flops_per_second`, `fraction_of_matrix_product` and
      `efficiency`; or `reason`, why it could not be measured.

    Raises:
      RunError: the workload as it is could not be measured on one device.
    """
    first = measurer.measure(Case((("batch_size", batch_size),), 1), arithmetic=True)
    chosen = {variant: variant.case(batch_size) for variant in variants(first["resident"], num_devices)}

    def measure(case):
        print(f"measuring: {pathlib.Path(measurer.configuration).stem}, {case}", file=sys.stderr)
        with Sampler() as sampler:
            measured = measurer.measure(case)
        return measured | {"utilization": sampler.busiest(measured["windows"], case.devices)}

    measured, failed = cases.alternate(measure, list(chosen.values()), rounds)
    rows = {
        variant: _summarize(measured[case], first) if case in measured else {"reason": failed[case]}
        for variant, case in chosen.items()
    }
    for variant, row in rows.items():
        one = rows[dataclasses.replace(variant, devices=1)]
        if "reason" not in row | one:
            row["efficiency"] = _rate(row) / variant.devices / _rate(one)
    return [dataclasses.asdict(variant) | row for variant, row in rows.items()]


def as_markdown(workload, vaeflow, peers):
    """Writes the tables of a workload.

    Args:
      workload: its name.
      vaeflow: what `measure_workload` returned.
      peers: what `gpu_peers.measure` returned for each.
    """
    done = [row for row in vaeflow if "reason" not in row]
    lines = [f"## {workload}", ""]
    if done:
        lines += [_describe(done[0]), ""]
        table = [_HEAD, ["---"] * len(_HEAD), *map(_cells, done)]
        lines += ["| " + " | ".join(cells) + " |" for cells in table]
    for row in vaeflow:
        if "reason" in row:
            name = ", ".join(str(row[field.name]) for field in dataclasses.fields(Variant))
            lines += ["", f"Not measured: {name}: {row['reason']}"]
    if peers and done:
        rates = {
            precision: max(_rate(row) for row in done if (row["precision"], row["devices"]) == (precision, 1))
            for precision in {row["precision"] for row in done if row["devices"] == 1}
        }
        lines += ["", gpu_peers.as_markdown(peers, rates, done[0]["num_weights"]).strip()]
    return "\n".join(lines) + "\n"


def _summarize(measurements, first):
    summary = report.summarize(measurements)
    sampled = [each["utilization"] for each in measurements if each["utilization"] is not None]
    summary["utilization"] = sum(sampled) / len(sampled) if sampled else None
    product = first["matrix_product_flops_per_second"]
    devices = summary["num_replicas"] if summary["device_kind"] == "GPU" else 1
    achieved = None
    if first["step_flops"] is not None:
        achieved = _rate(summary) * first["step_flops"] / first["batch_size"]
    return summary | {
        "matrix_product_flops_per_second": product,
        "flops_per_second": achieved,
        "fraction_of_matrix_product": achieved and achieved / (product * devices),
    }


def _rate(summary):
    return summary["images_per_second"]["median"]


def _describe(row):
    device = row["device_name"] or row["device_kind"]
    product = report.rate(row["matrix_product_flops_per_second"])
    return (
        f"{row['model']}, {row['num_weights']:,} weights, on {row['dataset']} of "
        f"{' x '.join(map(str, row['image_shape']))}; TensorFlow {row['tensorflow']}, {device}. A float32 "
        f"matrix product on one device: {product}."
    )


def _cells(row):
    spread = row["images_per_second"]
    counted = row["flops_per_second"] is not None
    return [
        row["precision"],
        row["compile_mode"],
        "on the device" if row["resident"] else "streamed",
        str(row["devices"]),
        f"{row['batch_size']:,}",
        f"{spread['median']:,.0f} ({spread['lowest']:,.0f} to {spread['highest']:,.0f})",
        report.milliseconds(row["step_seconds"]["total"]),
        "" if row["utilization"] is None else f"{row['utilization']:.0f}%",
        report.rate(row["flops_per_second"]) if counted else "not counted",
        f"{row['fraction_of_matrix_product']:.1%}" if counted else "",
        f"{row['efficiency']:.0%}" if row["devices"] > 1 and "efficiency" in row else "",
    ]


def define_flags(values):
    """Adds the flags of this command."""
    flags.DEFINE_float("seconds", 5.0, "How long each process measures.", 0.01, flag_values=values)
    flags.DEFINE_integer("rounds", 3, "How often each variant is measured.", 1, flag_values=values)
    flags.DEFINE_string(
        "peers_python", sys.executable, "The interpreter that has PyTorch and JAX.", flag_values=values
    )


def run(values):
    """Measures every workload, and writes the tables after each."""
    num_devices = values.virtual_devices or len(tf.config.list_physical_devices("GPU"))
    if not num_devices:
        raise ConfigurationError("TensorFlow sees no GPU; to rehearse on the CPU give --virtual_devices=2")
    gin_files = values.gin_file or sorted(map(str, _WORKLOADS.glob("*.gin")))
    if not gin_files:
        raise ConfigurationError(f"there is no gin file in {_WORKLOADS}; give --gin_file=configs/vae.gin")
    folder = pathlib.Path(values.workdir or "runs/benchmark-gpu")
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for file in gin_files:
        name = pathlib.Path(file).stem
        try:
            rows = _measure_file(values, file, num_devices, folder / f"{name}.gin")
            found[name] = {"vaeflow": rows, "peers": _measure_peers(values, file, folder)}
        except RunError as error:
            if len(gin_files) == 1:
                raise
            print(f"{file} cannot be measured: {config.explain(error)}", file=sys.stderr)
            continue
        files.write_text(folder / "gpu.json", json.dumps(found, indent=1) + "\n")
        tables = {workload: as_markdown(workload, **rows) for workload, rows in found.items()}
        files.write_text(folder / "gpu.md", "\n".join(tables.values()))
        print(tables[name])


def _measure_file(values, file, num_devices, configuration):
    config.load("train", [file], values.gin_param, values.plugin)
    given = config.values_of("train")
    with config.values_checked():
        making.checked(given)
    files.write_text(configuration, config.text_in_force())
    measurer = Measurer(
        str(configuration), tuple(values.plugin), values.seconds, values.virtual_devices is not None
    )
    return measure_workload(measurer, given["batch_size"], num_devices, values.rounds)


def _measure_peers(values, file, folder):
    """Measures PyTorch and JAX on a workload; none where the gin file is none of ours, or changed."""
    name = gpu_peers.workload_of(file)
    if name is None or values.gin_param:
        return []
    device = "gpu" if values.virtual_devices is None else "cpu"
    settings = gpu_peers.Settings(values.rounds, values.seconds, folder)
    rows = []
    for line in gpu_peers.lines_of(WORKLOADS[name], device, values.peers_python):
        print(f"measuring: {name}, {line.name}, {line.precision}", file=sys.stderr)
        rows.append(gpu_peers.measure(name, line, values.peers_python, settings))
    return rows


COMMAND = command_line.Command(
    "gpu", __doc__, run, ("gin_file", "gin_param", "plugin", "workdir", "virtual_devices"), define_flags
)

if __name__ == "__main__":
    sys.exit(command_line.main(COMMAND, sys.argv[1:], prefix="python -m benchmarks."))
