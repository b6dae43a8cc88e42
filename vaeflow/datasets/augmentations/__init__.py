"""Random changes of training images: crops, flips, colours, and the user's own."""

from vaeflow.datasets.augmentations.base import Augmentation
from vaeflow.datasets.augmentations.color import ColorJitter
from vaeflow.datasets.augmentations.crop import RandomCrop
from vaeflow.datasets.augmentations.flip import RandomFlip
from vaeflow.datasets.augmentations.lists import check_keep_values, checked_augmentations, crop_of

__all__ = [
    "Augmentation",
    "ColorJitter",
    "RandomCrop",
    "RandomFlip",
    "check_keep_values",
    "checked_augmentations",
    "crop_of",
]
