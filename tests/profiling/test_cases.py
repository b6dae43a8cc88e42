"""Which cases are measured, in which order, and why some are not."""

import pytest

from tests.fixtures.measurements import measurement
from vaeflow.errors import EnvironmentFailure
from vaeflow.profiling import cases
from vaeflow.profiling.cases import Case, Row

RUN = Case()
VALUES = {"compile_mode": "auto", "gradient_accumulation_steps": 2}


def test_compile_modes():
    none, step, loop = cases.compare_compile_modes(RUN, measurement(resident=False), ["none", "step", "loop"])
    assert (none, step) == (Row("none", RUN), Row("step", Case((("compile_mode", "step"),))))
    assert loop.case is None
    assert "needs the data on the device" in loop.reason


def test_compile_modes_of_several_replicas():
    run = Case(devices=2)
    none, step, loop = cases.compare_compile_modes(run, measurement(num_replicas=2), ["none", "step", "loop"])
    assert none == Row("none", run)
    assert step.reason is None
    assert "works on one replica" in loop.reason


def test_steps_per_loop():
    rows = cases.compare_steps_per_loop(RUN, measurement())
    assert [row.value for row in rows] == [1, 5, 10]
    assert rows[1].case is RUN
    assert rows[2].case == Case((("steps_per_loop", 10),))
    assert cases.compare_steps_per_loop(RUN, measurement(), ()) == []


def test_strong_scaling():
    one, two, three = cases.compare_replicas(RUN, measurement(), [1, 2, 3], VALUES, weak=False)
    assert one == Row(1, RUN)
    assert two == Row(2, Case((("batch_size", 32),), 2))
    # Each of the replicas accumulates gradients over two parts.
    assert three.case is None
    assert three.reason == "a batch of 32 images cannot be divided into 6 equal parts"


def test_weak_scaling_of_a_run_on_several_devices():
    run = Case(devices=4)
    rows = cases.compare_replicas(run, measurement(num_replicas=4), [1, 4, 8], VALUES, weak=True)
    assert rows == [
        Row(1, Case((("batch_size", 8),), 1)),
        Row(4, run),
        Row(8, Case((("batch_size", 64),), 8)),
    ]


def test_a_compiled_run_does_not_scale():
    values = VALUES | {"compile_mode": "loop"}
    one, two = cases.compare_replicas(RUN, measurement(), [1, 2], values, weak=True)
    assert one.case is RUN
    assert "works on one replica" in two.reason


@pytest.mark.parametrize(
    ("num_devices", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_numbers_of_replicas(num_devices, expected):
    assert cases.numbers_of_replicas(num_devices) == expected


def test_rounds_alternate_and_failures_are_not_repeated():
    first, second, third = RUN, Case(devices=2), Case(devices=3)
    asked = []

    def measure(case):
        asked.append(case)
        if case == second:
            raise EnvironmentFailure("no memory")
        return len(asked)

    measured, failed = cases.alternate(measure, [first, second, third], 2, {first: ["before"]})
    assert asked == [second, third, first, third]
    assert measured == {first: ["before", 3], third: [2, 4]}
    assert failed == {second: "no memory"}


def test_how_a_case_is_called():
    assert str(RUN) == "as configured"
    assert str(Case((("batch_size", 8),), 2)) == "batch_size 8, 2 devices"
