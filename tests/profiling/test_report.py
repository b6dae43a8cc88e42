"""The figures against numbers computed by hand, the table and the picture from given measurements."""

import json

import numpy as np
import pytest

from tests.fixtures.measurements import measurement
from vaeflow.profiling import chart, report
from vaeflow.profiling.cases import Case, Row

ONE, TWO, THREE = Case(), Case(devices=2), Case(devices=3)
MEASURED = {
    ONE: [measurement(700.0), measurement(800.0, peak_memory_bytes=2**30), measurement(1000.0)],
    TWO: [measurement(1200.0, num_replicas=2)],
}
SCALING = [Row(1, ONE), Row(2, TWO), Row(3, THREE), Row(4, None, "a batch of 30 cannot be divided")]


@pytest.fixture
def found():
    run = report.with_arithmetic(report.summarize(MEASURED[ONE]), MEASURED[ONE])
    compared = {name: [] for name in report.COMPARISONS}
    compared["compile_modes"] = report.compare(
        "compile_modes", [Row("none", ONE), Row("loop", None, "no")], MEASURED, {}
    )
    compared["strong_scaling"] = report.compare("strong_scaling", SCALING, MEASURED, {THREE: "no memory"})
    return {"run": run, **compared}


def test_figures(found):
    run = found["run"]
    assert run["images_per_second"] == {"median": 800.0, "lowest": 700.0, "highest": 1000.0}
    # 32 images at 800 images/s; an eighth of it input, three quarters compute.
    step = {"total": 0.040, "input": 0.005, "compute": 0.030, "host": 0.005}
    assert run["step_seconds"] == pytest.approx(step)
    assert (run["first_step_seconds"], run["peak_memory_bytes"], run["windows"]) == (2.0, 2**30, 3)
    # 1 GFLOP in 40 ms, of 100 GFLOP/s.
    assert run["flops_per_second"] == pytest.approx(25e9)
    assert run["fraction_of_matrix_product"] == pytest.approx(0.25)
    assert json.loads(json.dumps(found)) == found


def test_efficiency(found):
    one, two, three, four = found["strong_scaling"]
    assert one["efficiency"] == 1.0
    assert two["efficiency"] == pytest.approx(1200 / 2 / 800)
    assert three == {"num_replicas": 3, "reason": "no memory"}
    assert four == {"num_replicas": 4, "reason": "a batch of 30 cannot be divided"}


def test_table(found):
    text = report.as_text(found)
    assert "VAE on Arrays (8 x 8 x 1), batch 32, float32, 1 CPU replica, data on the device" in text
    assert "800 (700 to 1,000)" in text
    assert "40.0 ms: input 5.00, compute 30.0, host 5.00" in text
    assert "3.0 s, 2.0 of it tracing and compiling" in text
    assert "25 GFLOP/s, 25% of a float32 matrix product's 100 GFLOP/s" in text
    assert "  loop: no\n" in text
    assert "  3: no memory\n" in text
    assert "75%" in text
    assert "50% at 2 replicas" in text
    assert "Weak scaling" not in text


def test_operations_that_could_not_be_counted_and_a_gpu(found):
    changes = {"step_flops": None, "not_counted": "a shape", "device_kind": "GPU", "device_name": "H100"}
    measured = [measurement(**changes, peak_gpu_memory_bytes=2**31)]
    run = report.with_arithmetic(report.summarize(measured), measured)
    text = report.as_text(found | {"run": run})
    assert "not counted (a shape)" in text
    assert "a GPU 2.00 GiB" in text
    assert "1 GPU replica (H100)" in text
    assert "share one CPU" not in text


def colours(picture):
    return set(map(tuple, picture.reshape(-1, 3)))


@pytest.mark.slow
def test_picture(found):
    picture = chart.draw(found)
    assert picture.shape == (800, 1000, 3)
    assert picture.dtype == np.uint8
    bar = (0x3B, 0x70, 0xB8)
    assert bar in colours(picture[:460, 500:])
    assert bar in colours(picture[460:, :500])
    # Nothing was measured of weak scaling.
    assert bar not in colours(picture[460:, 500:])
    # The middle of the bar of two replicas ends 1.5 times as high as that of one.
    middles = 30 + 52 + (440 - 52) / 4 * np.array([0.5, 1.5])
    heights = [np.all(picture[480:, round(x) - 20] == bar, -1).sum() for x in middles]
    assert heights[1] / heights[0] == pytest.approx(1.5, rel=0.03)


@pytest.mark.parametrize(("least", "step"), [(0, 1), (0.03, 0.05), (11, 20), (50, 50), (51, 100)])
def test_ticks(least, step):
    assert chart._round_step(least) == pytest.approx(step)
