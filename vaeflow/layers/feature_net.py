"""A net out of a file that turns images into features, for measures that compare sets of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape
from vaeflow.layers.frozen import FrozenNet

_DIGITS = 12  # Of the SHA-256, in the names of results.


@registry.layer
class FeatureNet(FrozenNet):
    """Turns images into features by a net out of a `.keras` file or a SavedModel; see `FrozenNet`.

    It takes images as a model does, `[b, H, W, C]` in [0, 1], and gives `[b, D]`. Images are fitted to
    the net by these rules, in this order:

    - Grey images are repeated in every channel that the net takes.
    - Images of another size than the net takes are resized along each axis, with a filter
      that widens as images shrink (antialiasing) and sees no pixels beyond the border, as in Pillow;
      nothing is rounded.
    - Pixels are scaled from [0, 1] to `pixel_range`.
    - Features that are a map `[b, h, w, D]` are averaged over its places.

    Args:
      file: the `.keras` file, or the folder of the SavedModel.
      layer: the name of the layer that gives the features, of a SavedModel the name of an output;
        None for the net's only output.
      pixel_range: what black and white are to the net, e.g. (-1, 1).
      resizing: `"bilinear"`, or `"bicubic"` (Keys 1981, a = −0.5).
      sha256: the SHA-256 that the file must have; None accepts any.

    Raises:
      ConfigurationError: in addition to those of `FrozenNet`: the images have other channels, or the
        net gives something else.
    """

    def __init__(
        self,
        file: str,
        layer: str | None = None,
        pixel_range: Sequence[float] = (0.0, 1.0),
        resizing: str = "bilinear",
        sha256: str | None = None,
        **kwargs: Any,
    ):
        if not (layer is None or isinstance(layer, str)):
            raise ValueError(f"`FeatureNet.layer` must be the name of a layer, got {layer!r}")
        super().__init__(file, sha256, () if layer is None else (layer,), **kwargs)
        self.layer = layer
        self.pixel_range = _checked_range(pixel_range)
        self.resizing = validation.one_of("FeatureNet.resizing", resizing, tuple(_FILTERS))

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the features: name -> value; of the file, its name and SHA-256."""
        return {
            **self.frozen_file._asdict(),
            "layer": self.layer,
            "pixel_range": list(self.pixel_range),
            "resizing": self.resizing,
        }

    @property
    def label(self) -> str:
        """Names it in a result: the first digits of the file's SHA-256, and the layer if one was chosen."""
        digest = f"net={self.frozen_file.sha256[:_DIGITS]}"
        return digest if self.layer is None else f"{digest},layer={self.layer}"

    @property
    def key(self) -> tuple[Any, ...]:
        """What it was made with: nets with equal keys give the same features."""
        return type(self), self.dtype_policy.name, self._constructor_arguments

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        expected = self.net.input_shape
        if not (isinstance(expected, tuple) and len(expected) == 4):
            raise ConfigurationError(
                f"{self.file} must take images [b, H, W, C], it takes {expected}; choose another net"
            )
        *size, self.num_channels = expected[1:]
        if input_shape[-1] not in (1, self.num_channels):
            raise ConfigurationError(
                f"{self.file} takes images of {self.num_channels} channels, those of the data have "
                f"{input_shape[-1]}; choose a net for them"
            )
        self._resize = [
            None if new in (None, old) else _resizing(int(old or 0), new, self.resizing)
            for old, new in zip(input_shape[1:3], size, strict=True)
        ]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        images = tf.cast(inputs, self.compute_dtype)
        if self.num_channels not in (None, images.shape[-1]):
            images = tf.repeat(images, self.num_channels, axis=-1)
        for weights, product in zip(self._resize, ("ih,bhwc->biwc", "jw,bhwc->bhjc"), strict=True):
            if weights is not None:
                images = tf.einsum(product, tf.constant(weights, images.dtype), images)
        black, white = self.pixel_range
        outputs: list[Any] = tf.nest.flatten(super().call(black + (white - black) * images))
        if len(outputs) != 1 or outputs[0].shape.rank not in (2, 4):
            found = [tuple(each.shape) for each in outputs]
            raise ConfigurationError(
                f"{self.file} must give features [b, D] or a map of them [b, h, w, D], it gives {found}; "
                "name another layer with `FeatureNet.layer`"
            )
        (features,) = outputs
        return tf.reduce_mean(features, axis=[1, 2]) if features.shape.rank == 4 else features


def _checked_range(pixel_range: Any) -> tuple[float, float]:
    name = "FeatureNet.pixel_range"
    if not isinstance(pixel_range, (list, tuple)) or len(pixel_range) != 2:
        raise ValueError(f"`{name}` must be the two numbers of black and white, got {pixel_range!r}")
    black, white = (validation.finite_number(name, each) for each in pixel_range)
    return black, white


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(distance), 0.0)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """The cubic convolution kernel of Keys 1981 (IEEE TASSP 29(6)), Eq. 15, with a = −0.5."""
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_FILTERS = {"bilinear": _triangle, "bicubic": _cubic}


def _resizing(old: int, new: int, filter_name: str) -> np.ndarray:
    """Returns the weights of each old pixel in each new one, float64 `[new, old]`; rows sum to 1."""
    step = old / new
    centers = (np.arange(new) + 0.5) * step - 0.5
    weights = _FILTERS[filter_name]((np.arange(old) - centers[:, None]) / max(step, 1.0))
    return weights / weights.sum(axis=1, keepdims=True)
