"""Functions of one code that several objects trace, each its own."""

import pytest
import tensorflow as tf

from tests.fixtures import small_trainers
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.devices import tracing


def doubling(calls=None):
    @tf.function(autograph=False)
    def doubled(values):
        if calls is not None:
            calls.append(values)
        return {"doubled": 2 * values["x"]}

    return doubled


def test_they_compute_the_same_without_a_warning(tensorflow_log):
    two = {"x": tf.constant(2.0)}
    for _ in range(6):
        assert float(tracing.call_own(doubling(), two)["doubled"]) == 4.0
    assert tensorflow_log.text == ""
    for _ in range(6):
        doubling()(two)
    assert "triggered tf.function retracing" in tensorflow_log.text


def test_each_shape_is_traced_once():
    calls = []
    doubled = doubling(calls)
    for size in (1, 2, 1, 2):
        assert tracing.call_own(doubled, {"x": tf.ones(size)})["doubled"].shape == size
    assert len(calls) == 2


def test_a_debugger_sees_each_call():
    calls = []
    doubled = doubling(calls)
    tf.config.run_functions_eagerly(True)
    try:
        for _ in range(3):
            tracing.call_own(doubled, {"x": tf.ones(1)})
    finally:
        tf.config.run_functions_eagerly(False)
    assert [float(each["x"][0]) for each in calls] == [1.0, 1.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize(("compile_mode", "resident"), [("none", True), ("none", False), ("step", True)])
def test_trainers_and_evaluators_in_one_process_print_nothing(tensorflow_log, compile_mode, resident):
    """As in a loop over seeds."""
    for _ in range(5):
        trainer = small_trainers.make_trainer(compile_mode=compile_mode, resident_data=resident)
        trainer.train_and_report(1)
        Evaluator(Examples(trainer.model, trainer.split, trainer.strategy, 8, 0)).evaluate()
    assert tensorflow_log.text == ""
