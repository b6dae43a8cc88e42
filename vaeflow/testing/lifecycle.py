"""Checks of a model's life: saving, Keras' `fit`, and resuming a run."""

import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from vaeflow.optimizers import optimizers_of
from vaeflow.runs.literal_paths import literal
from vaeflow.testing import subjects
from vaeflow.testing.faults import call, check


@check("saving and loading")
def check_saving(factory, image_shape) -> Iterator[str]:
    """Checks that the model comes back from `get_config`, from weights and from a `.keras` file."""
    model = subjects.made(factory, image_shape)
    batch = subjects.floats(model, image_shape)
    again = call(type(model).from_config, model.get_config())
    # As JSON, in which Keras saves it: a list there may be a tuple here.
    configurations = [json.dumps(call(each.get_config)) for each in (again, model)]
    if configurations[0] != configurations[1]:
        yield "the configuration does not come back from `from_config`"
    again.build((None, *image_shape))
    shapes = [[tuple(weight.shape) for weight in each.weights] for each in (again, model)]
    if shapes[0] != shapes[1]:
        yield "the model made by `from_config` has other weights; hand every argument on to `get_config`"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        call(model.save_weights, path / "model.weights.h5")
        call(again.load_weights, path / "model.weights.h5")
        yield from _differences(again, model, batch, "weights loaded from a file")
        call(model.save, path / "model.keras")
        loaded: Any = call(keras.saving.load_model, path / "model.keras")
    if type(loaded) is not type(model):
        yield f"a saved model comes back as {type(loaded).__name__}"
        return
    yield from _differences(loaded, model, batch, "a model loaded from a .keras file")


def _differences(one, other, batch, what):
    if not np.array_equal(one(batch), other(batch)):
        yield f"{what} gives other reconstructions"
    for each in (one, other):
        if getattr(each, "num_examples", 0) is None:
            each.num_examples = 1000
    terms, expected = subjects.terms_of(one, batch), subjects.terms_of(other, batch)
    for name, term in expected.items():
        same = np.array_equal(terms[name].value, term.value)
        if not same or float(terms[name].weight) != float(term.weight):
            yield f"{what} gives another value or weight of the term {name!r}"


@check("Keras' fit, evaluate and predict")
def check_fit(factory, image_shape) -> Iterator[str]:
    """Checks that Keras' `fit`, `evaluate` and `predict` work, and that a compiled model is saved whole."""
    model = subjects.made(factory, image_shape)
    batch = subjects.floats(model, image_shape, 2 * subjects.BATCH_SIZE + 3)
    inputs = {name: value.numpy() for name, value in batch.items()}
    inputs = inputs if model.reads else inputs["images"]
    before = [variable.numpy() for variable in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.Adam(0.001))
    arguments: Any = {"batch_size": subjects.BATCH_SIZE, "verbose": 0}
    history = call(model.fit, inputs, epochs=2, **arguments).history
    for name, values in history.items():
        if not np.all(np.isfinite(values)):
            yield f"`fit` reports {name} = {values}"
    if not any(np.any(one != other) for one, other in zip(before, model.trainable_variables, strict=True)):
        yield "`fit` leaves the weights as they are"
    results = call(model.evaluate, inputs, return_dict=True, **arguments)
    if set(results) != set(history):
        yield f"`evaluate` reports {sorted(results)}, `fit` {sorted(history)}"
    for name, value in results.items():
        if not np.isfinite(value):
            yield f"`evaluate` reports {name} = {value}"
    shape = call(model.predict, inputs, **arguments).shape
    if shape != batch["images"].shape:
        yield f"`predict` gives the shape {shape} for images of {tuple(batch['images'].shape)}"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        call(model.save, path)
        loaded: Any = call(keras.saving.load_model, path)
    found = (optimizers_of(each.all_parameter_groups(each.optimizer)) for each in (loaded, model))
    for (one, _), (name, (other, _)) in zip(next(found).values(), next(found).items(), strict=True):
        whose = "the optimizer" if name is None else f"the optimizer of the group {name!r}"
        states = [[variable.numpy() for variable in optimizer.variables] for optimizer in (one, other)]
        if len(states[0]) != len(states[1]) or not all(map(np.array_equal, *states)):
            yield f"{whose} does not come back from a .keras file; build it in the model's `build`"


@check("resuming")
def check_resume(factory, image_shape) -> Iterator[str]:
    """Checks that a run that is stopped and resumed ends with the same bits."""
    half = subjects.NUM_STEPS // 2
    whole = subjects.trainer(factory, image_shape)
    subjects.run(whole, half)
    with tempfile.TemporaryDirectory() as folder, literal(pathlib.Path(folder)) as safe:
        path = whole.checkpoint().write(str(safe / "variables"))
        subjects.run(whole, subjects.NUM_STEPS - half)
        resumed = subjects.trainer(factory, image_shape)
        resumed.checkpoint().read(path).assert_consumed()
    resumed.resume_at(half)
    subjects.run(resumed, subjects.NUM_STEPS - half)
    if not all(map(np.array_equal, _state(resumed), _state(whole))):
        yield "a resumed run ends elsewhere: something that it depends on is in no variable"


def _state(trainer):
    optimizers = [optimizer for optimizer, _ in optimizers_of(trainer.replica_step.groups).values()]
    variables = [*trainer.model.variables, *(variable for each in optimizers for variable in each.variables)]
    return [variable.numpy() for variable in variables]
