"""`python -m benchmarks.operations`: what it reads from a trace, and the table that it makes."""

import json
import pathlib

import pytest
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.operations import __main__ as command
from benchmarks.operations import process
from benchmarks.processes import REPOSITORY
from benchmarks.workloads import WORKLOADS
from tests.fixtures import tiny_runs

OPERATIONS = pathlib.Path(REPOSITORY, "benchmarks", "operations.md")


def trace(*events):
    """A trace of one thread: of names, with their start and end in microseconds."""
    space = xplane_pb2.XSpace()
    plane = space.planes.add(name="/host:CPU")
    line = plane.lines.add(name="tf_Compute")
    for number, (name, start, end) in enumerate(events):
        plane.event_metadata[number].name = name
        line.events.add(metadata_id=number, offset_ps=start * 10**6, duration_ps=(end - start) * 10**6)
    return space


def test_an_operation_counts_as_often_as_it_ran():
    space = trace(("a:Mul", 0, 1), ("b:Mul", 1, 2), ("Executor", 0, 9), ("c:Sum", 3, 4))
    space.planes[0].lines.add().events.add(metadata_id=3, offset_ps=0, duration_ps=1)
    assert process.numbers(space) == {"Mul": 2, "Sum": 2}


def test_the_time_of_an_operation_is_without_those_inside_of_it():
    space = trace(
        ("ExecutorState::Process", 0, 100),
        ("net/dense/MatMul:_MklMatMul", 10, 40),
        ("other:MatMul", 60, 90),
        ("KernelAndDeviceFunc::Run", 61, 89),
        ("cond:StatelessIf", 200, 300),
        ("CpuExecutable::ExecuteAsyncOnStream", 210, 240),
        ("wrapped_multiply", 215, 235),
        ("add:AddV2", 250, 260),
        ("more/add:AddV2", 260, 265),
        ("EagerExecute: __inference_loop_7", 0, 400),
    )
    assert process.own_times(space) == pytest.approx({
        "_MklMatMul": 30e-6, "MatMul": 30e-6, "StatelessIf": 55e-6,
        "CpuExecutable::ExecuteAsyncOnStream": 30e-6, "AddV2": 15e-6,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("_MklNativeConv2DBackpropFilterWithBias", process.PRODUCTS),
        ("_MklNativeFusedMatMul", process.PRODUCTS),
        ("CpuExecutable::ExecuteAsyncOnStream", process.COMPILED),
        ("ResourceApplyAdam", process.UPDATE),
        ("L2Loss", process.UPDATE),
        ("Sum", process.OTHERS),
    ],
)
def test_kinds(operation, kind):
    assert process.kind_of(operation) == kind


@pytest.mark.slow
def test_a_step_of_a_training():
    own, numbers = process.traced_step(tiny_runs.trainer(compile_mode="none"))
    assert {process.kind_of(operation) for operation in own} >= {process.PRODUCTS, process.OTHERS}
    assert all(seconds >= 0 for seconds in own.values())
    assert own.keys() == numbers.keys()
    assert "Reshape" not in numbers


def measured(**changes):
    return {
        "workload": "conv", "batch_size": 32, "seconds": {process.PRODUCTS: 0.006, process.OTHERS: 0.004},
        "step_seconds": 0.0125, "num_operations": 1250.5, "longest": [["_MklConv2D", 0.005]],
        "step_flops": 12 * 10**8, "matrix_product_flops_per_second": 4e11,
    } | changes  # fmt: skip


def test_the_table():
    text = command.as_markdown(
        {"machine": {"processor": "one"}, "versions": {}, "workloads": {"conv": measured()}}
    )
    assert "| conv | 32 | 12.5 | 1,250 | 60% | 0% | 40% | 0% | 200 | 50% |" in text
    assert "- conv: _MklConv2D 5.00 ms" in text


def test_a_workload_that_does_not_exist_is_refused(capsys):
    code = command.command_line.main(command.COMMAND, ["--workloads=conv28"], prefix="python -m benchmarks.")
    assert code == 2
    assert "no workload is called 'conv28'; did you mean" in capsys.readouterr().err


def test_the_table_in_the_repository_is_that_of_its_numbers():
    found = json.loads(OPERATIONS.with_suffix(".json").read_text(encoding="utf-8"))
    assert list(found["workloads"]) == list(WORKLOADS)
    assert OPERATIONS.read_text(encoding="utf-8") == command.as_markdown(found)
