"""Checks the features of a dataset of TensorFlow Datasets that `TFDS` reads: an image, and one integer."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow.datasets.decoding import CHANNELS
from vaeflow.errors import ConfigurationError


def check_keys(features: Mapping[str, Any], name: str, image_key: str, label_key: str | None) -> None:
    """Checks that the keys name an 8-bit image, and a label that is one integer.

    Args:
      features: those of the dataset, by key.
      name: of the dataset, for messages.
      image_key: the key of the image.
      label_key: the key of the label, or None.

    Raises:
      ConfigurationError: a key names no feature, or another kind of feature.
    """
    import tensorflow_datasets as tfds

    for key in filter(None, (image_key, label_key)):
        if key not in features:
            raise ConfigurationError(
                f"tfds {name} has the features {', '.join(sorted(features))}; got {key!r}; set "
                "`TFDS.image_key` and `TFDS.label_key` to one of them"
            )
    image = features[image_key]
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise ConfigurationError(f"`TFDS.image_key` must name an 8-bit image of {name}, got {image}")
    if label_key is not None:
        label = features[label_key]
        dtype: Any = label.np_dtype if isinstance(label, tfds.features.Tensor) else object
        if np.dtype(dtype).kind not in "biu" or label.shape != ():
            raise ConfigurationError(
                f"`TFDS.label_key` must name a feature of {name} that is one integer, got {label_key!r}, "
                f"which is {label}"
            )


def image_shape(feature: Any, name: str, size: tuple[int, ...] | None) -> tuple[int, ...]:
    """Returns `(H, W, C)` of the images.

    Args:
      feature: the image feature.
      name: of the dataset, for messages.
      size: `(H, W)` that the user set, or None.

    Raises:
      ConfigurationError: the images have no size in common, or other channels than can be decoded.
    """
    stored: Any = feature.shape
    shape = (*(size or stored[:2]), stored[2])
    if None in shape or shape[2] not in CHANNELS:
        raise ConfigurationError(
            f"the images of tfds {name} have the shape {stored}; set `TFDS.image_size` to "
            f"(height, width), or use a dataset whose number of channels is one of {CHANNELS}"
        )
    return shape


def decoders(features: Mapping[str, Any]) -> dict[str, Any]:
    """Returns decoders that leave all images encoded: vaeflow decodes one, and needs no other."""
    import tensorflow_datasets as tfds

    return {
        key: tfds.decode.SkipDecoding()
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    }
