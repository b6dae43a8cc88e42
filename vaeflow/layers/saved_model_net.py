"""A net out of a SavedModel, as a layer."""

import pathlib
from typing import Any

import keras
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.runs import literal_paths

_SIGNATURE = "serving_default"


class SavedModelNet(keras.layers.Layer):
    """The signature `serving_default` of a SavedModel, a function from images to named outputs.

    It computes in the precision in which it was saved, and casts its input to it.

    Args:
      folder: the SavedModel.

    Raises:
      ConfigurationError: it has no such signature of one input.
    """

    def __init__(self, folder: pathlib.Path, **kwargs: Any):
        super().__init__(**kwargs)
        # Kept, since the function does not keep its variables alive.
        with literal_paths.literal(folder) as path:
            self.loaded: Any = tf.saved_model.load(str(path))
        self.signature: Any = self.loaded.signatures.get(_SIGNATURE)
        inputs = {} if self.signature is None else self.signature.structured_input_signature[1]
        if len(inputs) != 1:
            found = ", ".join(self.loaded.signatures) or "none"
            raise ConfigurationError(
                f"{folder} must have a signature {_SIGNATURE!r} of one input, the images; its signatures are "
                f"{found}, and that has {len(inputs)} inputs"
            )
        ((self.input_name, self.input_spec_of_signature),) = inputs.items()
        self.built = True

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs."""
        return list(self.signature.structured_outputs)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The shape of the images that it takes, None for each size that is open."""
        shape = self.input_spec_of_signature.shape
        return (None,) * 4 if shape.rank is None else tuple(shape)

    def call(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.cast(inputs, self.input_spec_of_signature.dtype)
        return self.signature(**{self.input_name: images})
