"""Training images that are changed at random, and the middle of images where others see them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.datasets.augmentations import Augmentation, RandomCrop, checked_augmentations, crop_of
from vaeflow.datasets.base import Split
from vaeflow.datasets.derived import DerivedSplit
from vaeflow.datasets.in_memory import with_factors_of
from vaeflow.errors import ConfigurationError, user_code


class AugmentedSplit(DerivedSplit):
    """A training split whose images are changed at random whenever they are used.

    Use u of a run is the place number u in the permutations of all epochs, one after the other (see
    `ExampleOrder`): u = epoch · N + place. So u says which example it is, and in which epoch, and
    the draws of an augmentation are a pure function of the seed, its class, its place in the list and
    u, whatever the batch size, the replicas and the parts of a batch are. Images of one size are
    cropped on the device, those of mixed sizes where they are decoded, at the place that the same
    draws give.

    Args:
      source: the `Split` of the images.
      augmentations: a list of `Augmentation`s; only the first may be a `RandomCrop`.

    Attributes:
      augmentations: that list, a tuple.

    Raises:
      ConfigurationError: an augmentation cannot change such images.
      ValueError: the list holds something else.

    Example:
        split = AugmentedSplit(InMemorySplit(images), [RandomCrop(24), RandomFlip()])
    """

    def __init__(self, source: Split, augmentations: Sequence[Augmentation]):
        super().__init__(source)
        if source.content != "images":
            raise ConfigurationError(
                f"augmentations change images, and this data holds {source.content}; remove them"
            )
        self.array, self.binarization = source.array, source.binarization
        self.augmentations = checked_augmentations("AugmentedSplit.augmentations", augmentations)
        self._device_crop = crop = crop_of(self.augmentations) if source.crop is None else None
        for augmentation in self.augmentations:
            with user_code.running(augmentation, "check_shape"):
                augmentation.check_shape(self.shape)
            if crop is not None and augmentation is crop:
                self.shape = (*crop.size, self.shape[2])

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return self._source.shape

    def fingerprint(self) -> str:
        changes = ", ".join(map(repr, self.augmentations))
        return f"{self._source.fingerprint()}, augmented by {changes}"

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        return self._source.examples(indices)

    def training_examples(self, indices: tf.Tensor, seed: int, first_use: tf.Tensor) -> tf.Tensor:
        """Returns stored images for consecutive uses; it runs inside `tf.data`.

        Args:
          indices: int64 `[n]`, the examples of these uses.
          seed: of the run.
          first_use: the number of the first use, see above.

        Returns:
          `[n, *stored_shape]`; those of mixed sizes are cropped already.
        """
        if self.crop is None:
            return self._source.examples(indices)
        with tf.device("CPU:0"), _keyed(seed, 0, self.crop, first_use):
            draws = self.crop.draw(indices.shape[0])
        return self._source.crops(indices, draws)

    def training_floats(
        self, images: tf.Tensor, dtype: str | tf.DType, seed: int, first_use: int | tf.Tensor
    ) -> tf.Tensor:
        """Augments stored images on the device.

        Args:
          images: `[b, *stored_shape]`, as `training_examples` returns them.
          dtype: as for `to_floats`, whose result this returns.
          seed: of the run.
          first_use: as for `training_examples`.
        """
        if self._device_crop is not None:
            with _keyed(seed, 0, self._device_crop, first_use):
                images = self._device_crop.augment(images)  # As it is stored: there is less to move.

        def augment(floats: tf.Tensor) -> tf.Tensor:
            for number, augmentation in enumerate(self.augmentations):
                if not isinstance(augmentation, RandomCrop):
                    with (
                        _keyed(seed, number, augmentation, first_use),
                        user_code.running(augmentation, "augment"),
                    ):
                        floats = _checked(augmentation, augmentation.augment(floats), floats)
            return floats

        return self._source.to_floats(images, dtype, augment)

    def to_floats(
        self,
        images: Any,
        dtype: str | tf.DType,
        augment: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Makes floats of the middle of stored images, `[b, *stored_shape]`; see `Split.to_floats`."""
        if self._device_crop is not None:
            images = _middle(images, self._device_crop)
        return self._source.to_floats(images, dtype, augment)


class CenterSplit(DerivedSplit):
    """The middle of the images of another split.

    Args:
      source: the `Split`, whose images are at least as large as the crop.
      crop: a `RandomCrop`, of which only the size matters.
    """

    def __init__(self, source: Split, crop: RandomCrop):
        super().__init__(source)
        self.binarization = source.binarization
        self._center_crop = crop
        self.shape = (*crop.size, source.shape[2])

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        return _middle(self._source.examples(indices), self._center_crop)


def center_cropped(split: Split, crop: RandomCrop | None) -> Split:
    """Returns the middle of the images of a split, held in memory if the split is.

    Raises:
      ConfigurationError: the images are smaller than the crop.
    """
    if crop is None or split.crop is not None:
        return split
    crop.check_shape(split.shape)
    if split.shape[:2] == crop.size:
        return split
    if split.array is None:
        return CenterSplit(split, crop)
    cropped = with_factors_of(split, _middle(split.array, crop), np.arange(split.num_examples))
    cropped.binarization = split.binarization
    return cropped


def _middle(images, crop):
    row, column = crop.center(images.shape[1:3])
    return images[:, row : row + crop.size[0], column : column + crop.size[1]]


def _keyed(seed, number, augmentation, first_use):
    return random.keyed(seed, f"augmentation {number}: {type(augmentation).__name__}", 0, first_use)


def _checked(augmentation, result, images):
    """Returns what an augmentation made of images, if it has their shape and dtype."""
    is_like = isinstance(result, tf.Tensor) and (result.shape, result.dtype) == (images.shape, images.dtype)
    if not is_like:
        problem = (
            f"must return a tensor of the shape {tuple(images.shape)} and {images.dtype.name}, as it was "
            f"given; it returned {user_code.described(result)}"
        )
        raise user_code.wrong(augmentation, "augment", problem)
    if tf.executing_eagerly() and user_code.is_users(augmentation):
        lowest, highest = float(tf.reduce_min(result)), float(tf.reduce_max(result))
        if not (lowest >= 0 and highest <= 1):  # Not a number is neither.
            problem = f"must return pixels in [0, 1], they are {lowest:g} to {highest:g}; clip or scale them"
            raise user_code.wrong(augmentation, "augment", problem)
    return result
