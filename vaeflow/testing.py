"""Checks that a model keeps what training relies on, for vaeflow's own models and for yours.

from vaeflow import testing
from my_package.models import MyVAE

def test_my_model():
    testing.check_model(MyVAE)
"""

import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.datasets import InMemorySplit, pipeline
from vaeflow.devices import strategies
from vaeflow.models.terms import Term, check_groups
from vaeflow.models.vae import VAE
from vaeflow.optimizers import Adam, optimizers_of
from vaeflow.runs import processes
from vaeflow.runs.literal_paths import literal
from vaeflow.training import making
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer

_BATCH_SIZE = 8
_NUM_STEPS = 6

# Of the way that weights went: far above rounding in float64, far below any fault.
_LARGEST_DIFFERENCE = 1e-6


def check_model(factory, image_shape=(8, 8, 1)):
    """Puts a model through everything that training, saving and resuming rely on.

    It takes about a minute, on the CPU, half of it in a second process with two
    replicas. A model with `scope="replica"` differs between one and two by intention
    and does not pass.

    Args:
      factory: makes the model, unbuilt, when called without arguments: its class, or a
        function. It must be importable by its name, not made within a function or a
        notebook, since the second process imports it.
      image_shape: `(H, W, C)` of the images to use; small ones are quicker.

    Raises:
      AssertionError: something is broken; the message says what.
    """
    _check_importable(factory)
    for check in CHECKS:
        check(factory, tuple(image_shape))
    check_replicas(factory, tuple(image_shape))


def check_terms(factory, image_shape):
    """Checks that terms are finite, of the right shapes, and of the dtype of the weights."""
    for precision in making.PRECISIONS:
        with making.precision(precision):
            model = _made(factory, image_shape)
        expected = "float64" if precision == "float64" else "float32"
        for variable in model.variables:
            message = f"the variable {variable.path} is {variable.dtype} in {precision}, not {expected}"
            _demand(variable.dtype == expected, f"{message}; hand dtype=self.dtype_policy to blocks")
        for name, term in _terms(model, _floats(image_shape, dtype=expected)).items():
            _check_term(name, term, expected, precision)


def _check_term(name, term, dtype, precision):
    _demand(isinstance(term, Term), f"the objective's {name!r} is {term!r}, not a Term")
    shape = tuple(term.value.shape)
    _demand(
        shape in ((), (_BATCH_SIZE,)),
        f"the term {name!r} has the shape {shape}; it must be a scalar, or have one value for each of the "
        f"{_BATCH_SIZE} images",
    )
    _demand(
        term.value.dtype == dtype, f"the term {name!r} is {term.value.dtype.name} in {precision}, not {dtype}"
    )
    _demand(np.all(np.isfinite(term.value)), f"the term {name!r} is not finite in {precision}")
    _demand(np.isfinite(float(term.weight)), f"the weight of the term {name!r} is not finite")


def check_gradients(factory, image_shape):
    """Checks that the loss of each parameter group has a finite gradient for each of its variables."""
    model = _made(factory, image_shape)
    _demand(model.trainable_variables, "the model has no trainable variable")
    # A layer that starts at 0 gives those before it no gradient until it has moved.
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(1e-3 * generator.normal(size=variable.shape))
    split = InMemorySplit(_pixels(image_shape))
    step = ReplicaStep(model, None, split, TrainingSettings(batch_size=_BATCH_SIZE))
    # Two steps: at the first, a schedule may weigh a term by 0.
    batch = pipeline.StoredBatch({"images": tf.constant(_pixels(image_shape))})
    results = [_call(step.compute, batch, number) for number in (0, 1_000_000)]
    gradients = [result.gradients for result in results]
    for name, group, *group_gradients in zip(step.groups, step.groups.values(), *gradients, strict=True):
        for variable, *values in zip(group.variables, *group_gradients, strict=True):
            loss = "the loss" if name is None else f"the loss of the group {name!r}"
            _demand(np.all(np.isfinite(values)), f"the gradient of {variable.path} is not finite")
            _demand(np.any(values), f"{loss} gives no gradient to the variable {variable.path}")


def check_noise(factory, image_shape):
    """Checks that noise is a function of the step and the image's position in the global batch."""
    model = _made(factory, image_shape)
    same = np.repeat(_floats(image_shape)[:1], _BATCH_SIZE, axis=0)
    first, again, later = (_noise(model, same, position) for position in (0, 0, 3))
    advice = "draw noise with vaeflow.random, or leave it to the model's `sampling`"
    _demand(np.array_equal(first, again), f"two passes of one step draw different noise; {advice}")
    if not np.any(first):
        return  # A deterministic encoder.
    for position, one in enumerate(first):
        _demand(
            not any(np.array_equal(one, other) for other in first[:position]),
            f"two images of a batch get the same noise; {advice}",
        )
    _demand(
        np.allclose(first[3:], later[:-3], atol=1e-4),
        f"the noise of an image depends on which replica it is on: it is the same on each; {advice}",
    )


def _noise(model, images, first_position):
    with random.keyed(0, "check", 0, first_position):
        forward = _call(model.forward, tf.constant(images), training=True)
    return (forward.latents - forward.posterior.center).numpy()


def check_saving(factory, image_shape):
    """Checks that the model comes back from `get_config`, from weights and from a `.keras` file."""
    model, images = _made(factory, image_shape), _floats(image_shape)
    again = _call(type(model).from_config, model.get_config())
    # As JSON, in which Keras saves it: a list there may be a tuple here.
    configurations = [json.dumps(_call(each.get_config)) for each in (again, model)]
    _demand(configurations[0] == configurations[1], "the configuration does not come back from `from_config`")
    again.build((None, *image_shape))
    _demand(
        [tuple(weight.shape) for weight in again.weights]
        == [tuple(weight.shape) for weight in model.weights],
        "the model made by `from_config` has other weights; hand every argument on to `get_config`",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        _call(model.save_weights, path / "model.weights.h5")
        _call(again.load_weights, path / "model.weights.h5")
        _check_equal(again, model, images, "weights loaded from a file")
        _call(model.save, path / "model.keras")
        loaded = _call(keras.saving.load_model, path / "model.keras")
    _demand(type(loaded) is type(model), f"a saved model comes back as {type(loaded).__name__}")
    _check_equal(loaded, model, images, "a model loaded from a .keras file")


def _check_equal(one, other, images, what):
    _demand(np.array_equal(one(images), other(images)), f"{what} gives other reconstructions")
    terms, expected = _terms(one, images), _terms(other, images)
    for name, term in expected.items():
        same = np.array_equal(terms[name].value, term.value) and float(terms[name].weight) == float(
            term.weight
        )
        _demand(same, f"{what} gives another value or weight of the term {name!r}")


def check_fit(factory, image_shape):
    """Checks that Keras' `fit`, `evaluate` and `predict` work, and that a compiled model is saved whole."""
    keras.utils.set_random_seed(0)
    model, images = factory(), _floats(image_shape, 2 * _BATCH_SIZE + 3)
    _call(model.build, (None, *image_shape))
    before = [variable.numpy() for variable in model.trainable_variables]
    model.compile(optimizer=keras.optimizers.Adam(0.001))
    arguments = {"batch_size": _BATCH_SIZE, "verbose": 0}
    history = _call(model.fit, images, epochs=2, **arguments).history
    for name, values in history.items():
        _demand(np.all(np.isfinite(values)), f"`fit` reports {name} = {values}")
    moved = any(np.any(one != other) for one, other in zip(before, model.trainable_variables, strict=True))
    _demand(moved, "`fit` leaves the weights as they are")
    results = _call(model.evaluate, images, return_dict=True, **arguments)
    _demand(set(results) == set(history), f"`evaluate` reports {sorted(results)}, `fit` {sorted(history)}")
    for name, value in results.items():
        _demand(np.isfinite(value), f"`evaluate` reports {name} = {value}")
    shape = _call(model.predict, images, **arguments).shape
    _demand(shape == images.shape, f"`predict` gives the shape {shape} for images of {images.shape}")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        _call(model.save, path)
        loaded: Any = _call(keras.saving.load_model, path)
    found = (optimizers_of(each.all_parameter_groups(each.optimizer)) for each in (loaded, model))
    for (one, _), (name, (other, _)) in zip(next(found).values(), next(found).items(), strict=True):
        whose = "the optimizer" if name is None else f"the optimizer of the group {name!r}"
        states = [[variable.numpy() for variable in optimizer.variables] for optimizer in (one, other)]
        same = len(states[0]) == len(states[1]) and all(map(np.array_equal, *states))
        _demand(same, f"{whose} does not come back from a .keras file; build it in the model's `build`")


def check_resume(factory, image_shape):
    """Checks that a run that is stopped and resumed ends with the same bits."""
    whole = _trainer(factory, image_shape)
    _run(whole, _NUM_STEPS // 2)
    with tempfile.TemporaryDirectory() as folder, literal(pathlib.Path(folder)) as safe:
        path = whole.checkpoint().write(str(safe / "variables"))
        _run(whole, _NUM_STEPS - _NUM_STEPS // 2)
        resumed = _trainer(factory, image_shape)
        resumed.checkpoint().read(path).assert_consumed()
    resumed.resume_at(_NUM_STEPS // 2)
    _run(resumed, _NUM_STEPS - _NUM_STEPS // 2)
    for one, other in zip(_state(resumed), _state(whole), strict=True):
        same = np.array_equal(one, other)
        _demand(same, "a resumed run ends elsewhere: something that it depends on is in no variable")


def _state(trainer):
    optimizers = [optimizer for optimizer, _ in optimizers_of(trainer.replica_step.groups).values()]
    variables = [*trainer.model.variables, *(variable for each in optimizers for variable in each.variables)]
    return [variable.numpy() for variable in variables]


def check_replicas(factory, image_shape):
    """Checks, in a second process, that one and two replicas train the same weights in float64."""
    module, name = _check_importable(factory)
    command = [sys.executable, "-m", "vaeflow.testing", module, name, *map(str, image_shape)]
    # Replicas on the CPU, whatever the machine has.
    own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": "-1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    with processes.child(command, env=os.environ | own, **pipes) as process:
        output, error = process.communicate()
    lines = (error if process.returncode else output).strip().splitlines() or ["no message"]
    _demand(process.returncode == 0, f"training on one and two replicas failed: {lines[-1]}")
    _demand(lines[-1] == "equal", lines[-1])


def _check_importable(factory):
    """Returns the module and the name of a factory; demands that another process can import it."""
    name = getattr(factory, "__qualname__", repr(factory))
    module = getattr(factory, "__module__", "__main__")
    _demand(
        module != "__main__" and hasattr(sys.modules.get(module), name),
        f"{name} of {module} cannot be imported by another process; give a class, or a function, at the top "
        "level of a module",
    )
    return module, name


def _compare_replicas(factory, image_shape):
    """Says what differs between one replica and two, or `equal`."""
    moves, losses = [], []
    for devices in (("CPU:0",), ("CPU:0", "CPU:1")):
        # Plain gradient descent: Adam would hide a constant factor.
        with making.precision("float64"):
            trainer = _trainer(factory, image_shape, keras.optimizers.SGD, devices)
        variables = trainer.model.trainable_variables
        before = [variable.numpy() for variable in variables]
        losses.append(_run(trainer, _NUM_STEPS)["loss"])
        moves.append([variable.numpy() - start for variable, start in zip(variables, before, strict=True)])
    for variable, one, two in zip(variables, *moves, strict=True):
        difference = np.max(np.abs(one - two)) / max(np.max(np.abs(one)), 1e-12)
        if not difference < _LARGEST_DIFFERENCE:
            return (
                f"one and two replicas train different weights: {variable.path} ends {difference:.1e} of its "
                "way elsewhere; a term that couples images must use the model's `gather`, noise must come "
                "from vaeflow.random, and a mean over images must be left to the Trainer"
            )
    if not abs(losses[0] - losses[1]) < _LARGEST_DIFFERENCE * abs(losses[0]):
        return f"one and two replicas report different losses: {losses[0]} and {losses[1]}"
    return "equal"


CHECKS = (check_terms, check_gradients, check_noise, check_saving, check_fit, check_resume)


def _demand(condition, message):
    if not condition:
        raise AssertionError(message)


def _call(function, *arguments, **named):
    """Calls what the model provides; what it raises is a failed check, with its message."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        name = getattr(function, "__name__", "the model")
        raise AssertionError(f"`{name}` fails: {type(error).__name__}: {error}") from error


def _made(factory, image_shape):
    keras.utils.set_random_seed(0)
    model = factory()
    _demand(isinstance(model, VAE), f"the factory makes {model!r}, not a vaeflow.VAE")
    _call(model.build, (None, *image_shape))
    return model


def _terms(model, images):
    if getattr(model, "num_examples", 0) is None:
        model.num_examples = 1000  # The Trainer's part.

    def objective():
        with random.keyed(0, "check", 0):
            return model.objective(model.forward(tf.constant(images), training=True), 0)

    terms = _call(objective)
    _call(check_groups, terms, model.all_parameter_groups(None))
    return terms


def _pixels(image_shape, count=_BATCH_SIZE):
    return np.random.default_rng(0).integers(0, 256, (count, *image_shape)).astype(np.uint8)


def _floats(image_shape, count=_BATCH_SIZE, dtype="float32"):
    return (_pixels(image_shape, count) / 255).astype(dtype)


def _trainer(factory, image_shape, optimizer=Adam, devices=("CPU:0",)):
    keras.utils.set_random_seed(0)
    strategy = strategies.mirrored(devices)
    with strategy.scope():
        model, optimizer = factory(), optimizer(1e-4)
    split = InMemorySplit(_pixels(image_shape, 3 * _BATCH_SIZE - 1))
    settings = TrainingSettings(batch_size=_BATCH_SIZE, steps_per_loop=_NUM_STEPS, compile_mode="none")
    return _call(Trainer, model, optimizer, split, settings, strategy)


def _run(trainer, num_steps):
    return _call(trainer.train_and_report, num_steps)


def main(module, name, *image_shape):
    """Compares one replica and two, in a process of its own."""
    strategies.split_devices(2)
    factory = getattr(importlib.import_module(module), name)
    print(_compare_replicas(factory, tuple(map(int, image_shape))))


if __name__ == "__main__":
    main(*sys.argv[1:])
