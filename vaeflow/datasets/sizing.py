"""How images of a source come to one size: scaled, cropped where they are decoded, or as they are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from vaeflow import validation
from vaeflow.datasets.augmentations import Augmentation, RandomCrop, crop_of
from vaeflow.datasets.decoding import checked_image_size
from vaeflow.errors import ConfigurationError


class Sizing(NamedTuple):
    """How images come to one size.

    Attributes:
      size: `(H, W)` that all images are scaled to; None keeps their own sizes, or scales the shorter side.
      shorter_side: the length that the shorter side is scaled to, before the crop; None keeps it.
      crop: the `RandomCrop` that is cut where images of mixed sizes are decoded; None for images of one size.
    """

    size: tuple[int, ...] | None
    shorter_side: int | None
    crop: RandomCrop | None


def checked_sizing(
    owner: str, image_size: Any, augmentations: Sequence[Augmentation], binarization: str
) -> Sizing:
    """Checks the settings of a source whose images may have mixed sizes.

    Args:
      owner: the class of the source, for messages.
      image_size: `(H, W)`, the length of the shorter side, or None.
      augmentations: those of the source, checked.
      binarization: that of the source.

    Raises:
      ConfigurationError: `image_size` is neither a pair nor a number with a crop of at most this size,
        or static binarization meets images of mixed sizes.
      ValueError: a size is not a positive integer.
    """
    crop = crop_of(augmentations)
    if isinstance(image_size, int):
        _check_shorter_side(owner, image_size, crop)
        sizing = Sizing(None, image_size, crop)
    else:
        size = checked_image_size(f"{owner}.image_size", image_size)
        sizing = Sizing(size, None, crop if size is None else None)
    if sizing.crop and binarization == "static":
        raise ConfigurationError(
            f'`{owner}.binarization` must be "none" or "dynamic" for crops of images of mixed sizes, '
            f"whose pixels static binarization would draw anew for each; or set `{owner}.image_size` "
            "to a pair (H, W)"
        )
    return sizing


def checked_dct_scaling(owner: str, dct_scaling: Any, sizing: Sizing) -> bool:
    """Checks whether JPEGs are to be scaled in their DCT; see `decode_image`.

    Raises:
      ConfigurationError: images are not scaled to a size.
      ValueError: it is neither True nor False.
    """
    validation.boolean(f"{owner}.dct_scaling", dct_scaling)
    if dct_scaling and sizing.size is None:
        raise ConfigurationError(
            f"`{owner}.dct_scaling` needs `{owner}.image_size` = (H, W), to which all images are scaled; "
            "JPEGs of mixed sizes whose shorter side is scaled are always decoded so"
        )
    return dct_scaling


def _check_shorter_side(owner: str, shorter_side: int, crop: RandomCrop | None) -> None:
    validation.positive_integer(f"{owner}.image_size", shorter_side)
    if crop is None:
        raise ConfigurationError(
            f"`{owner}.image_size` = {shorter_side} scales the shorter side of the images; write "
            f"({shorter_side}, {shorter_side}) for squares, or cut them with "
            f"`{owner}.augmentations = [@RandomCrop()]`"
        )
    if max(crop.size) > shorter_side:
        raise ConfigurationError(
            f"`RandomCrop.size` must be at most `{owner}.image_size`, the shorter side of the images, "
            f"{shorter_side}; got {crop.size[0]}x{crop.size[1]}"
        )
