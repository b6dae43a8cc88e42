"""A step that is skipped leaves every variable as it is, bit for bit, by a branch or by selection."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.small_trainers import BATCH, NUM_EXAMPLES, SEED, images, make_trainer
from vaeflow import optimizers, registry
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import TrainingDiverged
from vaeflow.models import VAE
from vaeflow.optimizers import SGD, Adam, AdamW, ParameterGroup
from vaeflow.schedules import CosineSchedule
from vaeflow.training import carrying_out
from vaeflow.training.carrying_out import StepResult, carry_out
from vaeflow.training.moving_average import MovingAverage

OURS = {
    "Adam": lambda: Adam(0.1),
    "Adam with AMSGrad and a schedule": lambda: Adam(CosineSchedule(0.1, 0.01, 9), amsgrad=True),
    "Adam with decay and no epsilon": lambda: Adam(0.1, weight_decay=0.1, epsilon=0.0),
    "AdamW": lambda: AdamW(0.1),
    "SGD": lambda: SGD(0.1),
    "SGD with momentum and decay": lambda: SGD(0.1, momentum=0.9, weight_decay=0.1),
    "SGD of Nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
}
KERAS = {name: registry.get(name).target for name in ("Adamax", "Nadam", "Adagrad", "Lion", "RMSprop")}


class State:
    """Two weights under an optimizer, their moving average, and a variable that an update changes."""

    def __init__(self, make_optimizer):
        generator = np.random.default_rng(0)
        self.weights = [keras.Variable(generator.normal(size=size), dtype="float32") for size in (3, (2, 2))]
        self.counter = keras.Variable(0.5, dtype="float32", trainable=False)
        self.optimizer = make_optimizer()
        optimizers.build_for_reduced_gradients(self.optimizer, self.weights)
        self.groups = {None: ParameterGroup(self.weights, self.optimizer)}
        self.average = MovingAverage(self, 0.9)

    def averaged_variables(self):
        return self.weights

    def step(self, number, by_selection, bad=None):
        """Carries out a step, or skips it where `bad` is what its gradients are."""
        generator = np.random.default_rng(number)
        gradients = [tf.constant(generator.normal(size=each.shape), tf.float32) for each in self.weights]
        new_value = tf.constant(0.1 * number, tf.float32)
        if bad is not None:
            gradients = [gradient * bad for gradient in gradients]
            new_value *= bad
        good = tf.constant(bad is None)
        result = StepResult([gradients], [new_value], {}, good, good)
        carry_out(
            tf.distribute.get_strategy(),
            self.groups,
            [self.counter],
            result,
            number,
            self.average,
            by_selection,
        )

    def bits(self):
        variables = [*self.weights, self.counter, *self.optimizer.variables, *self.average.variables]
        return [variable.numpy().tobytes() for variable in variables]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OURS, *KERAS])
def test_a_skipped_step_changes_nothing(name):
    """Be it the first, or one whose gradients are finite: they are too large."""
    state = State((OURS | KERAS)[name])
    by_selection = optimizers.can_select(state.groups)
    assert by_selection == (name in OURS)
    for number, bad in ((1, np.nan), (2, np.inf), (3, 1.0)):
        before = state.bits()
        state.step(number, by_selection, bad)
        assert state.bits() == before, bad
        state.step(number, by_selection)
        assert state.bits() != before


@pytest.mark.parametrize("name", OURS)
def test_selection_and_branch_take_the_same_steps(name):
    one, other = State(OURS[name]), State(OURS[name])
    for number, bad in enumerate((None, np.nan, None)):
        one.step(number, True, bad)
        other.step(number, False, bad)
    assert one.bits() == other.bits()


def test_a_weight_with_a_constraint_needs_the_branch():
    weight = keras.Variable([1.0])
    weight.constraint = keras.constraints.NonNeg()
    assert not optimizers.can_select({None: ParameterGroup([weight], SGD(0.1))})


@pytest.mark.parametrize(
    ("gpus", "optimizer", "expected"), [(0, SGD, False), (1, SGD, True), (1, KERAS["Lion"], False)]
)
def test_only_gpus_skip_by_selection(monkeypatch, gpus, optimizer, expected):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU"] * gpus)
    assert carrying_out.selects({None: ParameterGroup([keras.Variable([1.0])], optimizer(0.1))}) == expected


def diverged(monkeypatch, selects, compile_mode):
    """All variables after four steps, of which the third has a bad image and is skipped."""
    monkeypatch.setattr(carrying_out, "selects", lambda groups: selects)
    order = ExampleOrder(NUM_EXAMPLES, BATCH, SEED)
    seen = {index for step in (0, 1, 3) for index in order.batch(step)}
    split = InMemorySplit((images() / 255.0).astype(np.float32))
    split.array[next(index for index in order.batch(2) if index not in seen), 1, 1, 0] = np.nan
    trainer = make_trainer(lambda: AdamW(0.01), split, ema_decay=0.5, compile_mode=compile_mode)
    assert isinstance(trainer.model, VAE)
    with pytest.raises(TrainingDiverged, match="at step 2: reconstruction_loss is not finite;"):
        trainer.train(4)
    assert trainer.optimizer.iterations.numpy() == 3
    variables = [*trainer.model.variables, *trainer.optimizer.variables, *trainer._average.variables]
    return [variable.numpy() for variable in variables]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("compile_mode", ["none", "step", "loop"])
def test_a_loop_that_selects_ends_with_the_bits_of_one_that_branches(monkeypatch, compile_mode):
    branched, selected = (diverged(monkeypatch, selects, compile_mode) for selects in (False, True))
    for one, other in zip(branched, selected, strict=True):
        if compile_mode == "none":
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)
