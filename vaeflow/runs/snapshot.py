"""A copy of the state of a training, from which a checkpoint is written while the training goes on."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vaeflow.runs import checkpoint_files, finite

# TensorFlow uses the memory of an array that begins at a multiple of this; it copies any other.
_ALIGNMENT = 64


class Snapshot:
    """A copy of the variables of a checkpoint in host memory, which is kept from one copy to the next.

    A copy into new memory takes much longer: the system has to find and to clear each page of it.
    """

    def __init__(self) -> None:
        self._specs: dict[str, list[_Spec]] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._copy: tf.train.Checkpoint | None = None

    def take(self, checkpoint: tf.train.Checkpoint) -> None:
        """Copies the values of all variables, into the memory of the copy before if they are alike.

        Args:
          checkpoint: holds lists of variables.
        """
        lists = checkpoint_files.lists_of(checkpoint)
        specs = {part: [_Spec.of(variable) for variable in variables] for part, variables in lists.items()}
        if specs != self._specs:
            # The old memory first, so that there is one copy at a time.
            self._copy, self._specs, self._arrays = None, {}, {}
            self._arrays = {
                checkpoint_files.key(f"{part}/{index}"): spec.room()
                for part, of_part in specs.items()
                for index, spec in enumerate(of_part)
            }
            self._specs = specs
        for part, variables in lists.items():
            for index, variable in enumerate(variables):
                array = self._arrays[checkpoint_files.key(f"{part}/{index}")]
                # `read_value` of a variable on replicas enters its strategy each time: 0.5 ms.
                np.copyto(array, np.asarray(tf.convert_to_tensor(variable)))

    def first_not_finite(self) -> str | None:
        """Names the first variable that is not finite in the copy, e.g. `model/3`; None if all are."""
        return finite.first_not_finite(
            (checkpoint_files.name_of(key), array) for key, array in sorted(self._arrays.items())
        )

    def write(self, prefix: str) -> None:
        """Writes the files that `tf.train.Checkpoint.write` would have written when the copy was taken.

        Args:
          prefix: of their paths.

        Raises:
          Exception: TensorFlow's own, of several classes, if they cannot be written.
        """
        copy = self._copy = self._copy or self._made_copy()
        for name, variable in checkpoint_files.variables_of(copy).items():
            # `assign` would copy the array; this shares its memory.
            tf.raw_ops.AssignVariableOp(resource=variable.handle, value=self._arrays[name])
        copy.write(prefix)

    def _made_copy(self) -> tf.train.Checkpoint:
        """Makes a checkpoint of variables of the same names, whose values `write` sets."""
        with tf.device("CPU:0"):
            parts = {part: [spec.stand_in() for spec in specs] for part, specs in self._specs.items()}
        return tf.train.Checkpoint(**parts)


class _Spec(NamedTuple):
    """What a variable is, apart from its value."""

    name: str
    shape: tuple[int, ...]
    dtype: tf.DType

    @classmethod
    def of(cls, variable: Any) -> _Spec:
        return cls(variable.name.partition(":")[0], tuple(variable.shape), variable.dtype)

    def room(self) -> np.ndarray:
        """Makes an array whose memory TensorFlow can use as it is."""
        dtype = np.dtype(self.dtype.as_numpy_dtype)
        size = math.prod(self.shape) * dtype.itemsize
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        return memory[start : start + size].view(dtype).reshape(self.shape)

    def stand_in(self) -> tf.Variable:
        """Makes a variable of this name that takes a value of any shape, and has no memory before."""
        any_shape: Any = tf.TensorShape(None)  # pyright: ignore[reportArgumentType] -- Its stub is wrong.
        return tf.Variable(tf.zeros((), self.dtype), shape=any_shape, name=self.name)
