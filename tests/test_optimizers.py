"""Optimizers sum over replicas once, and refuse arguments that would act on each replica."""

import gin
import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from tests.fixtures.commands import REPOSITORY, Command
from vaeflow import optimizers, registry
from vaeflow.errors import ConfigurationError

NAMES = ("Adagrad", "Adam", "AdamW", "Adamax", "Lion", "Nadam", "RMSprop", "SGD")


@pytest.mark.slow
@pytest.mark.processes
def test_reduced_gradients_are_not_summed_again():
    """Pins a private method of Keras, and why it is replaced: as it is, it sums again."""
    finished = Command("tests.fixtures.apply_on_replicas", [], REPOSITORY).finish()
    assert finished.code == 0, finished.error[-3000:]
    replaced, untouched = finished.out.splitlines()
    assert replaced == "([0.625, 0.625], [1, 1])"
    assert untouched == "([0.25, 0.25], [1, 1])"


@pytest.mark.parametrize(("largest", "factor"), [(None, 1.0), (10.0, 1.0), (2.5, 0.5)])
@pytest.mark.parametrize("known", [False, True])
def test_clipping_is_by_the_norm_of_all_gradients_together(largest, factor, known):
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[4.0]])]  # Their norm is 5.
    clipped = optimizers.clip(gradients, largest, tf.constant(5.0) if known else None)
    np.testing.assert_allclose(clipped[0], [3.0 * factor, 0.0], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [[4.0 * factor]], rtol=1e-6)


WRONG = {
    "learning_rate": (-1.0, 1e999, float("nan")),
    "beta_1": (-0.1, 1.0, 2.0),
    "beta_2": (1.0,),
    "rho": (-0.1, 1.5),
    "momentum": (1.0,),
    "epsilon": (-1e-7, 1e999, "x"),
    "weight_decay": (-0.1, 1e999),
    "initial_accumulator_value": (float("nan"), 1e999),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_hyperparameter_out_of_range_is_refused_before_training(name):
    optimizer = registry.get(name).target
    parameters = registry.get(name).parameters
    optimizers.build_for_reduced_gradients(optimizer(), [keras.Variable([1.0])])
    for parameter in WRONG.keys() & parameters.keys():
        for value in WRONG[parameter]:
            with pytest.raises(ValueError, match=rf"{parameter}` must be "):
                optimizers.build_for_reduced_gradients(
                    optimizer(**{parameter: value}), [keras.Variable([1.0])]
                )


def test_every_number_of_an_optimizer_is_checked():
    known = {"name", "nesterov", "amsgrad", "centered"}
    for name in NAMES:
        assert registry.get(name).parameters.keys() - known - WRONG.keys() == set()


KERAS_SCHEDULES = keras.optimizers.schedules


@pytest.mark.parametrize(
    ("schedule", "attribute"),
    [
        (KERAS_SCHEDULES.ExponentialDecay(-1.0, 10, 0.5), "initial_learning_rate"),
        (KERAS_SCHEDULES.ExponentialDecay(1.0, 10, -0.5), "decay_rate"),
        (KERAS_SCHEDULES.ExponentialDecay(1.0, float("inf"), 0.5), "decay_steps"),
        (KERAS_SCHEDULES.CosineDecay(1.0, 10, alpha=-1.0), "alpha"),
        (KERAS_SCHEDULES.CosineDecay(1.0, 10, warmup_target=float("inf")), "warmup_target"),
        (KERAS_SCHEDULES.PolynomialDecay(1.0, 10, -1.0), "end_learning_rate"),
        (KERAS_SCHEDULES.PolynomialDecay(1.0, 10, power=float("nan")), "power"),
        (KERAS_SCHEDULES.PiecewiseConstantDecay([10], [1.0, -1.0]), "values"),
    ],
)
def test_a_schedule_of_keras_out_of_range_is_refused(schedule, attribute):
    optimizer = optimizers.Adam(learning_rate=schedule)
    with pytest.raises(ValueError, match=rf"`{type(schedule).__name__}\.{attribute}` must be a number"):
        optimizers.build_for_reduced_gradients(optimizer, [keras.Variable([1.0])])


def test_keras_still_has_the_method_that_is_replaced():
    assert callable(keras.optimizers.SGD._all_reduce_sum_gradients)


@pytest.mark.parametrize("name", NAMES)
def test_optimizers_are_registered_and_descend(name):
    optimizer = registry.get(name).target(0.01)
    variable = keras.Variable(np.array([1.0, -2.0]))
    optimizers.build_for_reduced_gradients(optimizer, [variable])
    for _ in range(50):
        optimizer.apply([2.0 * tf.convert_to_tensor(variable)], [variable])
    assert optimizer.iterations == 50
    assert np.sum(variable.numpy() ** 2) < 5.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("parameter", "advice"),
    [
        ("clipnorm", "train.gradient_clip_norm"),
        ("clipvalue", "train.gradient_clip_norm"),
        ("global_clipnorm", "train.gradient_clip_norm"),
        ("use_ema", "train.ema_decay"),
        ("ema_momentum", "train.ema_decay"),
        ("ema_overwrite_frequency", "train.ema_decay"),
        ("gradient_accumulation_steps", "train.gradient_accumulation_steps"),
        ("loss_scale_factor", "mixed_bfloat16"),
    ],
)
def test_what_would_act_on_each_replica_is_refused(name, parameter, advice):
    entry = registry.get(name)
    assert parameter not in entry.parameters
    assert advice in entry.refused[parameter]
    assert "learning_rate" in entry.parameters


def make_configured_adam(parameter):
    """Sets a parameter of Adam in gin, then makes the optimizer: either may refuse it."""
    gin.parse_config(f"Adam.{parameter} = 1")
    return registry.configured(registry.get("Adam").target)()


@pytest.mark.parametrize("parameter", ["clipnorm", "use_ema"])
def test_gin_refuses_them_too(parameter):
    one_refusal = pytest.raises(ValueError, match=parameter)
    with tiny_runs.configuration_of_its_own(), gin.unlock_config(), one_refusal:
        make_configured_adam(parameter)


def test_an_optimizer_is_registered_once_for_all():
    assert registry.register("optimizer", optimizers.Adam, optimizers._REFUSED) is optimizers.Adam
    with pytest.raises(ConfigurationError, match="two classes are registered as 'Adam'"):
        registry.register("schedule", type("Adam", (keras.optimizers.schedules.LearningRateSchedule,), {}))
