"""TensorFlow's errors, in its own words, become one line; defects pass unchanged."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import DataError, EnvironmentFailure, WorkerLost
from vaeflow.runs import failures


class Alone:
    """A watchdog that knows of no lost worker."""

    def explain_failure(self):
        return None


class Bereft:
    def explain_failure(self):
        return WorkerLost("worker 1 (b:2) has not been heard of for 30 s")


def reported(error, watchdog=None):
    """The exception that comes out for one that goes in."""
    try:
        with failures.readable_errors(watchdog or Alone(), "MNIST"):
            raise error
    except Exception as raised:
        return raised


# As a graph on CPU says it; on a GPU and under XLA only the line that counts differs.
GRAPH = """Graph execution error:

Detected at node Fill defined at (most recent call last):
  File "/home/me/model.py", line 9, in call

{line}
\t [[{{{{node Fill}}}}]]
Hint: If you want to see a list of allocated tensors when OOM happens, add report_tensor_allocations_upon_oom
"""
LINES = [
    "OOM when allocating tensor with shape[1048576,4194304] and type float on /device:GPU:0 by allocator x",
    "Out of memory while trying to allocate 17179869184 bytes.",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("form", [GRAPH, "{{{{function_node f}}}} {line} [Op:Fill]"])
def test_out_of_memory(line, form):
    error = reported(tf.errors.ResourceExhaustedError(None, None, form.format(line=line)))
    assert type(error) is EnvironmentFailure
    assert str(error).startswith(f"out of memory: {line}")
    assert "\n" not in str(error)
    assert "`train.batch_size`" in str(error)
    assert "Hint" not in str(error)


def test_memory_that_numpy_does_not_get():
    refusal = r"^out of memory: Unable to allocate .*`train.batch_size`"
    with (
        pytest.raises(EnvironmentFailure, match=refusal),
        failures.readable_errors(Alone(), "MNIST"),
    ):
        np.empty((1 << 25, 1 << 25))


@pytest.mark.parametrize("can_resume", [True, False])
def test_a_checkpoint_is_only_promised_where_there_is_one(can_resume):
    with (
        pytest.raises(EnvironmentFailure) as caught,
        failures.readable_errors(Alone(), "MNIST", lambda: can_resume),
    ):
        raise MemoryError("no room")
    assert ("the last checkpoint is kept" in str(caught.value)) == can_resume


@pytest.mark.parametrize(
    "error", [MemoryError("OOM"), tf.errors.ResourceExhaustedError(None, None, LINES[0])]
)
def test_a_model_that_is_too_large_is_not_blamed_on_the_batch(error):
    with (
        pytest.raises(EnvironmentFailure, match=r"while the model is made: OOM.*; make it smaller") as caught,
        failures.readable_errors(Alone(), "MNIST"),
        failures.weights_checked(),
    ):
        raise error
    assert "batch" not in str(caught.value)


def read(function):
    dataset = tf.data.Dataset.range(3).map(lambda x: tf.numpy_function(function, [x], tf.int64))
    with failures.readable_errors(Alone(), "MNIST"):
        list(dataset)


@pytest.mark.parametrize(
    "error", [OSError("the cable came out: twice"), ZeroDivisionError("1/0"), ValueError("a\nb")]
)
def test_what_the_input_raises_is_told_with_the_name_of_the_source(error):
    def fail(index):
        raise error

    with pytest.raises(DataError) as caught:
        read(fail)
    first = str(error).splitlines()[0]
    told, *lines = str(caught.value).splitlines()
    assert told == f"MNIST cannot give an example: {type(error).__name__}: {first}"
    assert lines[-1].endswith("fail: raise error")


def test_a_source_that_ends():
    assert str(reported(tf.errors.OutOfRangeError(None, None, "End of sequence"))) == (
        "MNIST ended before the training did"
    )


def test_a_lost_worker():
    error = reported(tf.errors.UnavailableError(None, None, "Socket closed"), Bereft())
    assert type(error) is WorkerLost
    assert str(error).startswith("worker 1 (b:2) has not been heard of")


@pytest.mark.parametrize(
    "error", [tf.errors.InvalidArgumentError(None, None, "shapes differ"), RuntimeError("a defect")]
)
def test_what_has_another_cause_passes(error):
    assert reported(error) is error
