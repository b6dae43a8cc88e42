"""Which variants are measured on GPUs, and the table; no process is started and no GPU needed."""

import json
import sys
import time

import numpy as np
import pytest

from benchmarks import gpu, gpu_peers, lines
from benchmarks.gpu import Variant
from benchmarks.workloads import WORKLOADS, gin_file
from tests.fixtures import tiny_runs
from tests.fixtures.measurements import measurement
from tests.fixtures.toy_programs import BROKEN, TOY, ScriptLine
from vaeflow.commands import command_line
from vaeflow.errors import EnvironmentFailure
from vaeflow.profiling.processes import Measurer

GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 20
train.batch_size = 8
Arrays.train = 'images.npy'
"""


def test_variants_of_one_gpu():
    found = gpu.variants(True, 1)
    assert {variant.precision for variant in found} == {"float32", "mixed_bfloat16"}
    of_one = [variant for variant in found if variant.precision == "float32"]
    assert [(variant.compile_mode, variant.resident, variant.devices) for variant in of_one] == [
        ("none", True, 1), ("step", True, 1), ("loop", True, 1), ("none", False, 1), ("step", False, 1),
    ]  # fmt: skip


def test_variants_of_several_gpus_and_streamed_data():
    found = [variant for variant in gpu.variants(False, 8) if variant.precision == "mixed_bfloat16"]
    assert [(variant.compile_mode, variant.resident, variant.devices) for variant in found] == [
        ("none", False, 1), ("step", False, 1), ("none", False, 8), ("step", False, 8),
    ]  # fmt: skip


def test_a_case_has_the_same_batch_on_each_device():
    case = Variant("float32", "none", False, 4).case(64)
    assert case.devices == 4
    assert dict(case.settings) == {
        "precision": "float32",
        "compile_mode": "none",
        "resident_data": False,
        "batch_size": 256,
    }


def fake_measure(self, case, arithmetic=False, trace=None):
    """800 images/s on one device, 1200 on two, and no memory for bfloat16 compiled as a loop."""
    settings = dict(case.settings)
    if (settings.get("precision"), settings.get("compile_mode")) == ("mixed_bfloat16", "loop"):
        raise EnvironmentFailure("out of memory: OOM")
    facts = {"resident": settings.pop("resident_data", True), "num_replicas": case.devices}
    facts |= {"device_kind": "GPU", "device_name": "H100", "num_gpus": 2}
    measured = measurement(rate=400.0 + 400.0 * case.devices, **facts | settings)
    for window in measured["windows"]:
        window["started_at"] = 0.0
    return measured


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Measurer, "measure", fake_measure)
    np.save("images.npy", tiny_runs.images(40))
    (tmp_path / "tiny.gin").write_text(GIN)

    def run(*arguments):
        with tiny_runs.configuration_of_its_own():
            code = command_line.main(gpu.COMMAND, arguments, prefix="python -m benchmarks.")
        return code, *capsys.readouterr()

    return run


def test_the_tables(run, tmp_path):
    code, out, _ = run("--gin_file=tiny.gin", "--virtual_devices=2", "--rounds=2")
    assert code == 0
    rows = json.loads((tmp_path / "runs/benchmark-gpu/gpu.json").read_text())["tiny"]["vaeflow"]
    assert len(rows) == 2 * (3 + 2 + 4)
    two = next(row for row in rows if row["devices"] == 2)
    assert two["efficiency"] == pytest.approx(1200 / 2 / 800)
    assert two["utilization"] is None
    # 1 GFLOP for a step of 8 images; 100 GFLOP/s each.
    assert two["flops_per_second"] == pytest.approx(1200 / 8 * 1e9)
    assert two["fraction_of_matrix_product"] == pytest.approx(0.75)
    text = (tmp_path / "runs/benchmark-gpu/gpu.md").read_text()
    assert text in out
    rate = "1,200 (1,200 to 1,200) | 13.3"
    line = f"| float32 | none | on the device | 2 | 16 | {rate} |  | 150 GFLOP/s | 75.0% | 75% |"
    assert line in text.splitlines()
    assert "VAE, 1,156 weights, on Arrays of 8 x 8 x 1; TensorFlow 2.21.0, H100. A float32" in text
    assert "Not measured: mixed_bfloat16, loop, True, 1: out of memory: OOM" in text


def test_peers_are_measured_on_the_workloads_of_the_comparison(run, monkeypatch, tmp_path):
    """Programs that train nothing, of an interpreter that has PyTorch only."""

    def measure(name, line, python, settings):
        assert (name, line.device, settings.num_rounds) == ("dense_128", "cpu", 2)
        told = {"program": line.name, "precision": line.precision}
        if line.variant == "compile":
            return told | {"reason": "no C++ compiler"}
        parameters = 7 if line.precision == "bfloat16" else 1156
        windows = [{"images": rate, "seconds": 1.0} for rate in (200, 400)]
        return told | {
            "windows": windows, "parameters": parameters, "start_seconds": 2.25, "utilization": None,
        }  # fmt: skip

    monkeypatch.setattr(gpu_peers, "measure", measure)
    monkeypatch.setattr(gpu_peers, "_has", lambda python, module: module == "torch_loop")
    monkeypatch.setattr(gpu_peers, "gin_file", lambda name: tmp_path / f"{name}.gin")
    (tmp_path / "dense_128.gin").write_text(GIN)
    code, _, error = run(
        "--gin_file=dense_128.gin", "--gin_file=tiny.gin", "--virtual_devices=1", "--rounds=2"
    )
    assert code == 0
    assert "measuring: dense_128, PyTorch, eager, bfloat16" in error
    assert "JAX" not in error
    text = (tmp_path / "runs/benchmark-gpu/gpu.md").read_text()
    assert text.count("| PyTorch, eager |") == 1
    assert "| PyTorch, eager | float32 | 300 (200 to 400) | 2.67 |  | 2.2 |" in text
    assert "Not measured: PyTorch, eager, bfloat16: it trains 7 parameters, vaeflow 1,156" in text
    assert "Not measured: PyTorch, compiled, float32: no C++ compiler" in text
    found = json.loads((tmp_path / "runs/benchmark-gpu/gpu.json").read_text())
    assert [len(found[name]["peers"]) for name in ("dense_128", "tiny")] == [4, 0]
    # Another net than the peers have.
    code, out, _ = run("--gin_file=dense_128.gin", "--virtual_devices=1", "--gin_param=VAE.num_latents = 5")
    assert code == 0
    assert "PyTorch" not in out


def test_peers_of_a_gpu(monkeypatch):
    monkeypatch.setattr(
        gpu_peers, "_NEEDS", {"torch_loop": ("json",), "jax_loop": ("json", "no_such_package")}
    )
    found = gpu_peers.lines_of(WORKLOADS["conv64_64"], "gpu", sys.executable)
    assert [(each.variant, each.precision, each.device) for each in found] == [
        (variant, precision, "gpu")
        for precision in ("float32", "bfloat16")
        for variant in ("channels_last", "compile", "compile_graphs")
    ]
    line = lines.Line("any", "torch_loop", "channels_last", device="gpu", precision="bfloat16")
    assert "CUDA_VISIBLE_DEVICES" not in line.environment({})
    assert {"--device=gpu", "--precision=bfloat16", "--variant=channels_last"} <= set(
        line.command("python", "conv64_64", "folder")
    )


@pytest.mark.processes
def test_a_peer_is_measured_in_rounds(tmp_path):
    settings = gpu_peers.Settings(2, 0.02, tmp_path)
    row = gpu_peers.measure("dense_128", ScriptLine("toy", TOY), sys.executable, settings)
    assert [window["seconds"] >= 0.02 for window in row["windows"]] == [True, True]
    assert abs(row["windows"][1]["started_at"] - time.time()) < 30
    assert row["parameters"] == 7
    broken = gpu_peers.measure("dense_128", ScriptLine("toy", BROKEN), sys.executable, settings)
    assert broken["reason"] == "the net has no layers"


def test_the_files_of_the_workloads_are_known():
    assert gpu_peers.workload_of(gin_file("conv64_64")) == "conv64_64"
    assert gpu_peers.workload_of("configs/vae.gin") is None


def test_one_workload_that_fails_does_not_end_the_others(run, tmp_path):
    (tmp_path / "bad.gin").write_text(GIN.replace("images.npy", "missing.npy"))
    code, out, error = run("--gin_file=bad.gin", "--gin_file=tiny.gin", "--virtual_devices=1")
    assert code == 0
    assert "bad.gin cannot be measured: " in error
    assert "missing.npy" in error
    assert "## tiny" in out
    code, _, error = run("--gin_file=bad.gin", "--virtual_devices=1")
    assert code == 2
    assert error.startswith("benchmarks.gpu: error:")
    assert "missing.npy" in error


def test_without_a_gpu_or_a_workload(run, monkeypatch, tmp_path):
    code, _, error = run("--gin_file=tiny.gin")
    assert code == 2
    assert "sees no GPU; to rehearse on the CPU give --virtual_devices=2" in error
    monkeypatch.setattr(gpu, "_WORKLOADS", tmp_path / "nothing")
    code, _, error = run("--virtual_devices=1")
    assert code == 2
    assert "there is no gin file in" in error
