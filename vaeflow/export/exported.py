"""What every exported model has in common: functions of TensorFlow alone, which other programs call."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random

# The name of a function -> its arguments, name -> array.
Arguments = dict[str, dict[str, Any]]


class Exported(tf.Module):
    """The functions of a trained model for other programs, in TensorFlow without Keras.

    Args:
      model: a built model, made under the default strategy.

    Attributes:
      function_names: the names of the functions.
      label_sizes: how many values each of the F labels has; empty for a model that reads none.
      choosing: the functions of which rounding may choose another code, so that only the example that
        differs least is compared.
    """

    function_names: tuple[str, ...]
    choosing: tuple[str, ...] = ()

    def __init__(self, model: Any) -> None:
        super().__init__()
        # TensorFlow's variables, not the Keras variables around them: those would need Keras to load.
        self.weights = [variable.value for variable in model.variables]
        self.dtype = tf.as_dtype(model.variable_dtype)
        self.label_sizes = tuple(model.label_sizes) if "labels" in model.reads else ()

    def example_arguments(self, generator: np.random.Generator, count: int, seed: int) -> Arguments:
        """Makes arguments of every function, for `count` examples.

        Args:
          generator: draws them.
          count: the number of examples.
          seed: of the draws of `sample`.
        """
        raise NotImplementedError

    def example_labels(
        self, generator: np.random.Generator, count: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Makes the labels of some examples, and the number of draws, which labels say if there are any."""
        if not self.label_sizes:
            return {}, {"num_samples": np.int32(count)}
        return {"labels": generator.integers(0, self.label_sizes, (count, len(self.label_sizes)))}, {}

    def labels_signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the input for labels, if the model reads any: name -> its specification."""
        spec = tf.TensorSpec((None, len(self.label_sizes)), tf.int64, "labels")
        return {"labels": spec} if self.label_sizes else {}

    def draws_signature(self) -> dict[str, tf.TensorSpec]:
        """Returns the inputs of `sample`: how many, unless labels say it; a seed; and labels."""
        labels = self.labels_signature()
        count = {} if labels else {"num_samples": tf.TensorSpec((), tf.int32, "num_samples")}
        return count | {"seed": tf.TensorSpec((), tf.int64, "seed")} | labels

    def functions(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Returns the named functions, all for None: name -> `tf.function`."""
        return {name: getattr(self, name) for name in (self.function_names if names is None else names)}

    def _function(
        self, compute: Callable[[dict[str, Any]], dict[str, tf.Tensor]], signature: dict[str, tf.TensorSpec]
    ) -> Any:
        def computed(*arguments):
            # A decoder that draws noise itself draws the same noise each time.
            with random.keyed(0, "export", 0):
                outputs = compute(dict(zip(signature, arguments, strict=True)))
            return {
                name: value if value.dtype.is_integer else tf.cast(value, self.dtype)
                for name, value in outputs.items()
            }

        # The names of the arguments become the names of the signature's inputs.
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        named = [inspect.Parameter(name, kind) for name in signature]
        computed.__signature__ = inspect.Signature(named)  # pyright: ignore[reportFunctionMemberAccess]
        return tf.function(computed, input_signature=list(signature.values()), autograph=False)


@contextlib.contextmanager
def drawing(inputs: Mapping[str, Any]) -> Iterator[Any]:
    """Keys the noise of a draw by its seed, and gives how many are drawn.

    Args:
      inputs: those of `sample`: `seed`, and `num_samples` or `labels`.
    """
    labels = inputs.get("labels")
    # Here the seed takes the place of the step in the key of the noise.
    with random.keyed(0, "export", inputs["seed"]):
        yield tf.shape(labels)[0] if labels is not None else inputs["num_samples"]
