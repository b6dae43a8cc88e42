"""`python -m benchmarks.growth`: its points, what it makes of given numbers, and how a cut run goes on."""

import json
import pathlib

import pytest

from benchmarks.growth import __main__ as growth
from benchmarks.growth import paper, points, table
from benchmarks.growth.points import AXES, BASE, Point
from tests.fixtures.measurements import measurement
from vaeflow import config
from vaeflow.commands import command_line
from vaeflow.errors import EnvironmentFailure

GROWTH = pathlib.Path(points.REPOSITORY, "benchmarks", "growth.md")


def measured(point, factor=1.0):
    """What a process would answer: 800 images/s, with 10 MFLOP and 1 MB for each image of a batch."""
    of_kind = {
        "train": measurement(rate=800.0 / factor, batch_size=64, num_weights=500_000, step_flops=64 * 10**7),
        "input": {"images_per_second": 100_000 / factor, "peak_memory_bytes": 2**29},
        "order": {"permutation_seconds": 2.5e-8 * point.value * factor, "wait_seconds": 0.001}
        | {"peak_order_bytes": 32 * point.value},
        "checkpoint": {
            "num_weights": point.value, "first_held_seconds": 0.5 * factor, "held_seconds": 0.25 * factor,
            "write_seconds": 4.0, "restore_seconds": 2.0, "checkpoint_bytes": 12 * point.value,
            "peak_memory_bytes": 2**31,
        },
    }  # fmt: skip
    found = of_kind[point.kind] | {"others_cores": 0.1}
    if point.kind == "train":
        found["num_replicas"] = point.devices
        if point.how != "dense, 8x8":
            found["peak_memory_bytes"] = 2**29 + 10**6 * 64
    if point in AXES["batch"]:
        found |= {"batch_size": point.value, "peak_memory_bytes": 2**29 + 10**6 * point.value}
    return found


def state(**factors):
    """All points of all axes, measured twice; an axis that `factors` names takes so many times as long."""
    points_of = {point.key: (axis, point) for axis, of_axis in reversed(AXES.items()) for point in of_axis}
    return {
        "machine": {"processor": "Abacus"},
        "versions": {"keras": "9.9"},
        "settings": {"axes": list(AXES), "rounds": 2, "seconds": 2.0, "num_cores": 2},
        "measured": {
            key: [measured(point, factors.get(axis, 1.0)) for _ in range(2)]
            for key, (axis, point) in points_of.items()
        },
        "failed": {},
    }


def test_every_point_has_a_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(points, "CACHE", tmp_path)
    for point in {point.key: point for axis in AXES.values() for point in axis}.values():
        if point.kind != "order":
            file = tmp_path / "point.gin"
            file.write_text(point.configuration())
            assert not config.read("train", [str(file)]).warnings, point.key


def test_what_is_the_same_is_measured_once():
    at_base = {name for name, of_axis in AXES.items() if BASE.key in [point.key for point in of_axis]}
    assert at_base == {"batch", "image_size", "width", "latents", "replicas"}
    keys = [point.key for of_axis in AXES.values() for point in of_axis]
    assert len(set(keys)) == len(keys) - 4


def test_the_tables():
    slower = state()
    for point in AXES["latents"][1:]:
        slower["measured"][point.key] = [measured(point, factor) for factor in (2.0, 4.0)]
    rows = table.markdown(slower).splitlines()
    assert "| processor | Abacus |" in rows
    assert "Rounds: 2, with 2 s of training or reading in each." in rows
    assert "| 10 | 80.0 | 800 (800–800) |  | 3.0 | 0.56 | 5% |" in rows
    assert "| 100 | 213 | 300 (200–400) | 2.67 | 3.0 | 0.56 | 5% |" in rows
    assert "| 1,000 | 213 | 300 (200–400) | 1.00 | 3.0 | 0.56 | 5% |" in rows
    assert "| 64 | 100,000 (100,000–100,000) | 1.00 | 0.50 | 5% |" in rows
    assert "| 10,000,000 | 0.250 | 1.00 | 305 | 5% |" in rows
    assert "| 98,000,000 | 1,122 | 0.500 | 0.250 | 4.00 | 2.00 | 2.00 | 5% |" in rows
    assert (
        "| examples | data | step, ms | images/s | time of an image, × | start, s | memory, GiB | others |"
        in rows
    )


def test_a_point_that_failed_has_a_line_and_no_row():
    found = state()
    key = AXES["width"][-1].key
    del found["measured"][key]
    found["failed"][key] = "out of memory"
    text = table.markdown(found)
    assert f"Not measured: {key}: out of memory" in text
    assert "\n| 128 |" not in text.partition("## Width")[2].partition("## Latents")[0]


def test_the_paragraph_says_what_the_figures_give():
    text = paper.paragraph(state())
    # 10 TFLOP/s at 10 MFLOP an image: a million images/s on each GPU.
    assert "a GPU trains 1,000,000 images/s, a step takes 0.064 ms" in text
    assert "an epoch of 100 million images 1.6 s" in text
    assert "an image takes as much memory there as here, 1.00 MB, a step takes 0.06 GB of a GPU" in text
    assert "so it needs about 160 cores" in text
    # 2.5 s for 100 million, in half of 1.6 s.
    assert "2.5 s and 3.0 GiB in each process: the steps wait for the rest" in text
    assert "for 250 ms, 79.6% of the time, with 1.0 million weights" in text
    assert "So reading images is the first limit, 80.0 times as slow as it has to be; more cores" in text


@pytest.mark.parametrize(
    ("factors", "first"),
    [
        ({"input": 1e-3}, "finding the next order is the first limit, 3.2 times"),
        ({"input": 1e-3, "order": 0.1}, "summing gradients is the first limit, 2.5 times"),
        ({"input": 1.0, "order": 100.0}, "finding the next order is the first limit, 320.0 times"),
    ],
)
def test_the_verdict_follows_the_figures(factors, first):
    assert f"So {first}" in paper.paragraph(state(**factors))


def test_all_keeps_up_where_each_image_takes_long():
    found = state()
    for measurements in found["measured"].values():
        for each in measurements:
            if "step_flops" in each:
                each["step_flops"] *= 1000
    text = paper.paragraph(found)
    assert "no step waits for it" in text
    assert text.endswith(
        "So all of it keeps up; the tightest is reading images, which takes 8% of the time that it has."
    )


def test_what_replicas_cost_the_host_is_seen_on_the_dense_net():
    found = state()
    several = AXES["replicas"][-1]
    for each in found["measured"][several.key]:
        # 80 ms a step for one; 0.7 ms more for 7.
        each["windows"] = [each["windows"][0] | {"steps": 4.0 / 0.0807}]
    text = paper.paragraph(found)
    assert several.how == "dense, 8x8"
    assert "Starting 8 replicas takes 0.8 ms (12.5 times the step)" in text


def test_without_its_figures_there_is_no_paragraph():
    found = state()
    del found["measured"][BASE.key]
    assert paper.paragraph(found) == f"Left out, since these were not measured: {BASE.key}."


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command in this process, with the points of two small axes: (exit code, stdout, stderr)."""
    monkeypatch.setattr(points, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    few = {"latents": AXES["latents"][:2], "order": (Point(1_000, "order", ""), Point(2_000, "order", ""))}
    monkeypatch.setattr(points, "AXES", AXES | few)

    def run(*arguments):
        options = ["--axes=latents,order", "--rounds=2", f"--results={tmp_path / 'results'}", *arguments]
        code = command_line.main(growth.COMMAND, options, prefix="python -m benchmarks.")
        return code, *capsys.readouterr()

    return run


class Measuring:
    """Stands in for the processes; `asked` are the keys, and the one of number `fails_at` fails."""

    def __init__(self, monkeypatch):
        self.asked, self.fails_at, self.error = [], None, None
        monkeypatch.setattr(growth, "_measure", self.measure)

    def measure(self, point, seconds):
        self.asked.append(point.key)
        if len(self.asked) == self.fails_at:
            raise self.error
        return measured(point)


@pytest.fixture
def measuring(monkeypatch):
    return Measuring(monkeypatch)


def test_rounds_alternate_and_both_files_are_written(run, measuring, tmp_path):
    assert run()[0] == 0
    assert measuring.asked[:4] == measuring.asked[4:]
    assert len(set(measuring.asked)) == 4
    written = json.loads((tmp_path / "results/growth.json").read_text())
    assert {len(each) for each in written["measured"].values()} == {2}
    assert (tmp_path / "results/growth.md").read_text() == table.markdown(written)


def test_a_cut_run_goes_on(run, measuring):
    measuring.fails_at, measuring.error = 6, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run()
    before = measuring.asked[:5]
    measuring.asked, measuring.fails_at = [], None
    code, _, error = run()
    assert code == 0
    assert "going on with" in error
    assert before + measuring.asked == [*before[:4], *before[:4]]
    measuring.asked.clear()
    assert "going on" not in run()[2]
    assert len(measuring.asked) == 8


def test_other_settings_start_anew(run, measuring):
    measuring.fails_at, measuring.error = 6, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run()
    measuring.asked, measuring.fails_at = [], None
    code, _, error = run("--seconds=1")
    assert code == 0
    assert "starting anew" in error
    assert len(measuring.asked) == 8


def test_a_point_that_fails_does_not_end_the_others(run, measuring, tmp_path):
    measuring.fails_at, measuring.error = 2, EnvironmentFailure("out of memory")
    assert run()[0] == 0
    assert len(measuring.asked) == 7
    assert json.loads((tmp_path / "results/growth.json").read_text())["failed"] == {
        measuring.asked[1]: "out of memory"
    }


def test_wrong_input_is_one_message(run, measuring, tmp_path):
    code, _, error = run("--axes=latent")
    assert code == 2
    assert "no axis is called 'latent'; did you mean 'latents'" in error
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "unfinished.json").write_text("{")
    code, _, error = run()
    assert code == 4
    assert "unfinished.json cannot be read: line 1 is no JSON" in error
    assert error.strip().endswith("remove it to start anew")
    assert not measuring.asked


def test_the_committed_tables_are_those_of_the_committed_figures():
    written = json.loads(GROWTH.with_suffix(".json").read_text(encoding="utf-8"))
    assert GROWTH.read_text(encoding="utf-8") == table.markdown(written)


@pytest.mark.slow
@pytest.mark.processes
def test_each_kind_is_measured_in_a_process(run, monkeypatch, tmp_path):
    """With the smallest of each."""
    dense = {"workload": "dense_128", "array": (1_024, 8)}
    small = tuple(f"{net}.units = (8,)" for net in ("DenseEncoder", "DenseDecoder"))
    few = {
        "latents": (Point(64, lines=small, devices=2, **dense),),
        "order": (Point(1_000, "order", ""),),
        "input": (Point(8, "input", lines=("Arrays.in_memory = False",), **dense),),
        "checkpoint": (Point(1, "checkpoint", lines=small, **dense),),
    }
    monkeypatch.setattr(points, "AXES", AXES | few)
    code, _, error = run("--axes=latents,order,input,checkpoint", "--rounds=1", "--seconds=0.05")
    assert code == 0, error
    written = json.loads((tmp_path / "results/growth.json").read_text())
    assert written["failed"] == {}
    train, order, read, saved = [each[0] for each in written["measured"].values()]
    assert train["num_replicas"] == 2
    assert train["windows"]
    assert 8_000 < order["peak_order_bytes"] < 10**6
    assert read["images_per_second"] > 0
    assert 3 * 4 * saved["num_weights"] < saved["checkpoint_bytes"] < 10**6
    assert 0 < saved["held_seconds"] <= saved["write_seconds"]
    assert all(found["others_cores"] >= 0 for found in (train, order, read, saved))
    left = {path.suffix for path in (tmp_path / "cache").iterdir()}
    assert left == {".npy", ".gin"}
