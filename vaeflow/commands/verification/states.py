"""The state of a training against that of a checkpoint: variable by variable, and the weights as a whole."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.runs import checkpoint_files

_MODEL = "model/"


def weights(checkpoint: tf.train.Checkpoint) -> dict[str, np.ndarray]:
    """Returns the weights of the model among the variables of a checkpoint, in float64."""
    return {
        name: variable.numpy().astype(np.float64)
        for name, variable in checkpoint_files.variables_of(checkpoint).items()
        if name.startswith(_MODEL) and variable.dtype.is_floating
    }


def distance(these: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> float:
    """Returns the Euclidean norm of the difference of weights, relative to that of `these`."""
    difference = sum(float(np.sum((others[name] - value) ** 2)) for name, value in these.items())
    size = sum(float(np.sum(value**2)) for value in these.values())
    return math.sqrt(difference / size) if size else float(difference > 0)


def compare(checkpoint: tf.train.Checkpoint, folder: pathlib.Path) -> dict[str, Any]:
    """Compares variables with those of a checkpoint's files.

    Returns:
      The number of `variables`, how many are `different` in any bit, and the `deviation` of the weights;
      see `distance`.
    """
    variables = checkpoint_files.variables_of(checkpoint)
    found, different = weights(checkpoint), 0
    with checkpoint_files.reader(folder) as reader:
        for name, variable in variables.items():
            saved, now = np.asarray(reader.get_tensor(name)), variable.numpy()
            different += saved.dtype != now.dtype or saved.tobytes() != now.tobytes()
        saved_weights = {name: reader.get_tensor(name).astype(np.float64) for name in found}
    deviation = distance(saved_weights, found)
    return {"variables": len(variables), "different": int(different), "deviation": deviation}
