"""Checks of one step: its terms, its gradients, what it changes, and its parts."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from vaeflow.layers.terms import Term
from vaeflow.models import frozen_blocks
from vaeflow.testing import subjects
from vaeflow.testing.faults import call, check
from vaeflow.training import making
from vaeflow.training.loss_shares import coupling_of
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

# Of the size of a gradient: far above rounding in float64, far below any fault.
_LARGEST_DIFFERENCE = 1e-8
_NUM_PARTS = 2


@check("the terms, in each precision")
def check_terms(factory, image_shape) -> Iterator[str]:
    """Checks that terms are finite, of the right shapes, and of the dtype of the weights."""
    for precision in making.PRECISIONS:
        with making.precision(precision):
            model = subjects.made(factory, image_shape)
        expected = "float64" if precision == "float64" else "float32"
        for variable in frozen_blocks.without(model, model.variables):
            if variable.dtype != expected:
                yield (
                    f"the variable {variable.path} is {variable.dtype} in {precision}, not {expected}; hand "
                    "dtype=self.dtype_policy to blocks"
                )
        batch = subjects.floats(model, image_shape, dtype=expected)
        for name, term in subjects.terms_of(model, batch).items():
            yield from _faults_of_term(name, term, expected, precision)


def _faults_of_term(name, term, dtype, precision):
    if not isinstance(term, Term):
        yield f"the objective's {name!r} is {term!r}, not a Term"
        return
    shape = tuple(term.value.shape)
    if shape not in ((), (subjects.BATCH_SIZE,)):
        yield (
            f"the term {name!r} has the shape {shape}; it must be a scalar, or have one value for each of "
            f"the {subjects.BATCH_SIZE} images"
        )
    if term.value.dtype != dtype:
        yield f"the term {name!r} is {term.value.dtype.name} in {precision}, not {dtype}"
    if not np.all(np.isfinite(term.value)):
        yield f"the term {name!r} is not finite in {precision}"
    if not np.isfinite(float(term.weight)):
        yield f"the weight of the term {name!r} is not finite"


@check("the gradients")
def check_gradients(factory, image_shape) -> Iterator[str]:
    """Checks that the loss of each parameter group has a finite gradient for each of its variables."""
    model = subjects.made(factory, image_shape)
    if not model.trainable_variables:
        yield "the model has no trainable variable"
    # A layer that starts at 0 gives those before it no gradient until it has moved.
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(1e-3 * generator.normal(size=variable.shape))
    step = _step(model, image_shape, subjects.BATCH_SIZE)
    batch = subjects.part_of(subjects.stored(model, image_shape))
    # Two steps: at the first, a schedule may weigh a term by 0.
    results = [call(step.compute, batch, number) for number in (0, 1_000_000)]
    gradients = [result.gradients for result in results]
    for name, group, *group_gradients in zip(step.groups, step.groups.values(), *gradients, strict=True):
        for variable, *values in zip(group.variables, *group_gradients, strict=True):
            loss = "the loss" if name is None else f"the loss of the group {name!r}"
            if not np.all(np.isfinite(values)):
                yield f"the gradient of {variable.path} is not finite"
            elif not np.any(values):
                yield (
                    f"{loss} gives no gradient to the variable {variable.path}; use it in a term, or make it "
                    "with trainable=False"
                )


@check("what a pass changes")
def check_side_effects(factory, image_shape) -> Iterator[str]:
    """Checks that a pass changes no variable: in training only optimizers and updates do, in use nothing."""
    model = subjects.made(factory, image_shape)
    batch = subjects.floats(model, image_shape)
    # Those of Keras' batch normalization, which the Trainer knows of.
    layers = [layer for layer in model.all_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    allowed = {id(variable) for layer in layers for variable in layer.non_trainable_variables}
    for path in _changed(model, batch, training=True, allowed=allowed):
        yield (
            f"`forward` changes the variable {path} in training: it would be changed once for each part of a "
            "batch, on each replica by its own images, and in skipped steps; return the change from `updates`"
        )
    for path in _changed(model, batch, training=False, allowed=()):
        yield (
            f"`forward` changes the variable {path} outside of training, so that an evaluation changes the "
            "model; change it in `updates` only"
        )


def _changed(model, batch, training, allowed):
    before = [variable.numpy() for variable in model.variables]
    subjects.forward(model, batch, training=training)
    pairs = zip(model.variables, before, strict=True)
    return [each.path for each, value in pairs if id(each) not in allowed and not np.array_equal(each, value)]


@check("a batch in parts")
def check_parts(factory, image_shape) -> Iterator[str]:
    """Checks that a batch in parts, side by side or accumulated, is trained on as the whole is."""
    count = subjects.CUT_BATCH_SIZE
    with making.precision("float64"):
        model = subjects.made(factory, image_shape)
        batch = subjects.stored(model, image_shape, count)
        step = _step(model, image_shape, count)
        probe = call(step.probe, batch)
        whole = call(step.compute, subjects.part_of(batch), 0)
        if probe.normalizes_over_batch:
            return  # It is never cut.
        step.use_cores(_NUM_PARTS, probe)
        yield from _differences(step, call(step.compute, subjects.part_of(batch), 0), whole, "side by side")
        if coupling_of(model, subjects.terms_of(model, subjects.floats(model, image_shape, dtype="float64"))):
            return
        accumulating = _step(model, image_shape, count, gradient_accumulation_steps=_NUM_PARTS)
        accumulated = call(accumulating.compute, subjects.part_of(batch), 0)
        yield from _differences(step, accumulated, whole, "one after the other")


def _differences(step, cut, whole, how):
    variables = [variable for group in step.groups.values() for variable in group.variables]
    for variable, one, other in zip(
        [*variables, *step.updated_variables],
        tf.nest.flatten([cut.gradients, cut.new_values]),
        tf.nest.flatten([whole.gradients, whole.new_values]),
        strict=True,
    ):
        difference = np.max(np.abs(one - other)) / max(np.max(np.abs(other)), 1e-12)
        if not difference < _LARGEST_DIFFERENCE:
            yield (
                f"{_NUM_PARTS} parts of {subjects.CUT_BATCH_SIZE} images, {how}, change {variable.path} "
                f"otherwise than all at once, by {difference:.1e} of its change: leave means over images "
                "to the Trainer, set `couples_examples = True` if the value of an image depends on others, "
                "and give an `Update` sums over images"
            )
            return


def _step(model, image_shape, batch_size, **settings):
    split = subjects.split_of(model, image_shape)
    return ReplicaStep(model, None, split, TrainingSettings(batch_size=batch_size, **settings))
