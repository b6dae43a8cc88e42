"""The check of one replica against two, in a process of its own, which can have virtual devices."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import keras
import numpy as np

from vaeflow.devices import strategies
from vaeflow.runs import processes
from vaeflow.testing import subjects
from vaeflow.testing.faults import check
from vaeflow.training import making

# Of the way that weights went: far above rounding in float64, far below any fault.
_LARGEST_DIFFERENCE = 1e-6
_LARGE_BATCH = 64


@check("one replica and two")
def check_replicas(factory, image_shape) -> Iterator[str]:
    """Checks, in a second process, that one and two replicas train the same weights in float64."""
    module, name = importable(factory)
    command = [sys.executable, "-m", "vaeflow.testing.replicas", module, name, *map(str, image_shape)]
    # Replicas on the CPU, whatever the machine has.
    own = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": "-1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "errors": "replace"}
    with processes.child(command, env=os.environ | own, **pipes) as process:
        output, error = process.communicate()
    if process.returncode:
        last = (error.strip().splitlines() or ["no message"])[-1]
        yield f"training on one and two replicas failed: {last}"
    else:
        yield from json.loads(output.strip().splitlines()[-1])


def importable(factory) -> tuple[str, str]:
    """Returns the module and the name of a factory.

    Raises:
      AssertionError: another process cannot import it.
    """
    name = getattr(factory, "__qualname__", repr(factory))
    module = getattr(factory, "__module__", "__main__")
    if module == "__main__" or not hasattr(sys.modules.get(module), name):
        raise AssertionError(
            f"{name} of {module} cannot be imported by another process; give a class, or a function, at the "
            "top level of a module"
        )
    return module, name


def _faults(factory, image_shape):
    """Lists what differs between one replica and two, which train and update for some steps."""
    moves, losses, variables = [], [], []
    for devices in (("CPU:0",), ("CPU:0", "CPU:1")):
        # Plain gradient descent: Adam would hide a constant factor.
        with making.precision("float64"):
            trainer = subjects.trainer(factory, image_shape, keras.optimizers.SGD, devices, _LARGE_BATCH)
        variables = trainer.model.variables
        before = [variable.numpy() for variable in variables]
        losses.append(subjects.run(trainer, subjects.NUM_STEPS)["loss"])
        moves.append([variable.numpy() - start for variable, start in zip(variables, before, strict=True)])
    for variable, one, two in zip(variables, *moves, strict=True):
        difference = np.max(np.abs(one - two), initial=0.0) / max(np.max(np.abs(one), initial=0.0), 1e-12)
        if not difference < _LARGEST_DIFFERENCE:
            yield (
                f"one and two replicas train different weights: {variable.path} ends {difference:.1e} of its "
                "way elsewhere; a term that couples images must use the model's `gather`, noise must come "
                "from vaeflow.random, and a mean over images must be left to the Trainer"
            )
            return
    if not abs(losses[0] - losses[1]) < _LARGEST_DIFFERENCE * abs(losses[0]):
        yield f"one and two replicas report different losses: {losses[0]} and {losses[1]}"


def main(module: str, name: str, *image_shape: str) -> None:
    """Prints the faults as JSON."""
    strategies.split_devices(2)
    factory = getattr(importlib.import_module(module), name)
    print(json.dumps(list(_faults(factory, tuple(map(int, image_shape))))))


if __name__ == "__main__":
    main(*sys.argv[1:])
