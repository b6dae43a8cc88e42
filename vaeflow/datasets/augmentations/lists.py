"""Checks of a list of augmentations."""

from collections.abc import Sequence
from typing import Any

from vaeflow import validation
from vaeflow.datasets.augmentations.base import Augmentation
from vaeflow.datasets.augmentations.crop import RandomCrop
from vaeflow.errors import ConfigurationError


def checked_augmentations(name: str, augmentations: Any) -> tuple[Augmentation, ...]:
    """Returns a list of augmentations as a tuple; `name` is the setting.

    Raises:
      ConfigurationError: a crop is not the first.
      ValueError: it is not a list of augmentations.
    """
    listed = validation.list_of(name, augmentations, Augmentation, "[@RandomCrop(), @RandomFlip()]")
    if any(isinstance(each, RandomCrop) for each in listed[1:]):
        raise ConfigurationError(
            f"`{name}` must begin with its only crop, since images of mixed sizes are cropped where they are "
            f"decoded; got {listed!r}"
        )
    return tuple(listed)


def crop_of(augmentations: Sequence[Augmentation]) -> RandomCrop | None:
    """Returns the crop with which checked augmentations begin, if they do."""
    first = augmentations[0] if augmentations else None
    return first if isinstance(first, RandomCrop) else None


def check_keep_values(augmentations: Sequence[Augmentation], name: str) -> None:
    """Checks that statically binarized images stay binary; `name` is the setting of the binarization.

    Raises:
      ConfigurationError: an augmentation makes other pixels.
    """
    for each in augmentations:
        if not each.keeps_values:
            raise ConfigurationError(
                f"{type(each).__name__} makes pixels that are neither black nor white of those that "
                f'`{name}` = "static" has drawn; set it to "dynamic", which draws afterwards'
            )
