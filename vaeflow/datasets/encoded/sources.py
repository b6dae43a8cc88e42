"""Codes and latents that `vaeflow encode` wrote, as datasets to train models of them on."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, VALIDATION, Dataset, Split
from vaeflow.datasets.encoded import manifest
from vaeflow.datasets.encoded.splits import EncodedSplit
from vaeflow.datasets.remote import Source
from vaeflow.errors import ConfigurationError, DataError

SCALINGS = ("none", "all", "channels")

Transform = Callable[[np.ndarray], np.ndarray]


class Encoded(Dataset):
    """What `vaeflow encode` wrote of one group of latents; see `Codes` and `Latents`.

    Attributes:
      manifest: the `Manifest` of the folder, which names the tokenizer.
    """

    content: str

    def __init__(
        self,
        folder: str,
        group: str | None = None,
        in_memory: bool = True,
        verify: bool = True,
        validation_fraction: float = 0.0,
    ):
        super().__init__(validation_fraction=validation_fraction)
        own = type(self).__name__
        self._source = Source(f"{own}.folder", folder)
        if self._source.is_missing():
            raise ConfigurationError(
                f"`{own}.folder` must be an existing folder that `vaeflow encode` wrote, got {folder!r}"
            )
        self.group = group
        self.in_memory = validation.boolean(f"{own}.in_memory", in_memory)
        self.verify = validation.boolean(f"{own}.verify", verify)

    @property
    def folder(self) -> pathlib.Path:
        """The folder on this machine; see `Source.path`."""
        return self._source.path

    @functools.cached_property
    def manifest(self) -> manifest.Manifest:
        """What the folder holds.

        Raises:
          DataError: that cannot be read.
        """
        return manifest.read(self.folder)

    @property
    def has_own_validation(self) -> bool:
        return VALIDATION in self.manifest.shards

    def load(self, name: str) -> Split:
        """Opens a split, and reads it if it is held in memory; see `Dataset.load`."""
        validation.one_of("split", name, (*SPLITS, VALIDATION))
        if name not in self.manifest.shards:
            raise DataError(
                f"{self.folder} holds no {name} split, only {', '.join(self.manifest.shards)}; run `vaeflow "
                "encode` with all splits"
            )
        group = self.chosen_group()
        transforms = self.transforms(group)
        return EncodedSplit(self.manifest, name, group, transforms, self.in_memory, self.verify)

    def chosen_group(self) -> str:
        """Returns the name of the group: the one that was set, or the only one of this content."""
        own, groups = type(self).__name__, self.manifest.groups
        fitting = [name for name, group in groups.items() if group.content == self.content]
        if self.group is None and len(fitting) == 1:
            return fitting[0]
        if self.group is None or self.group not in fitting:
            held = ", ".join(f"{name!r} ({group.content})" for name, group in groups.items())
            raise ConfigurationError(
                f"`{own}.group` must name {self.content} in {self.folder}, which holds {held}; got "
                f"{self.group!r}"
                + ("" if fitting else f"; read {groups[next(iter(groups))].content} instead")
            )
        return self.group

    def transforms(self, group: str) -> dict[str, Transform]:
        """Returns which arrays of a group are read: role -> what makes a model's values of stored ones."""
        raise NotImplementedError


@registry.dataset
class Codes(Encoded):
    """Codes of images: int32 `[h, w, G]`, for a model of codes such as `CodePrior`.

    `vaeflow encode` writes them with a tokenizer such as `VQVAE`. Code g of a place is from 0 to
    K_g − 1, where K_1 … K_G are the `code_sizes` of a split. The splits and labels are those of
    the images. A vector of G codes is a map of one place.

    Args:
      folder: the folder that `vaeflow encode` wrote, with its `manifest.json`, or its URL.
      group: the name of the group of codes, where the tokenizer has several.
      in_memory: True reads a split at once and holds it; False reads its examples on demand.
      verify: whether the digest of each file is compared with the manifest before it is used.
      validation_fraction: as for `Dataset`, where the folder has no validation split.

    Raises:
      ConfigurationError: the folder does not exist.
      ValueError: another setting is out of range.
    """

    content = "codes"

    def transforms(self, group: str) -> dict[str, Transform]:
        return {"codes": lambda codes: codes}


@registry.dataset
class Latents(Encoded):
    """Latents of images: float32 `[h, w, D]`, any numbers, for a model that takes latents.

    `vaeflow encode` writes them with an autoencoder. The splits and labels are those of the
    images. A vector is a map of one place.

    Args:
      folder: the folder that `vaeflow encode` wrote, with its `manifest.json`, or its URL.
      scaling: `"none"`; `"all"` divides by the standard deviation of all numbers of the training
        split, as latent diffusion does (Rombach et al. 2022, arXiv:2112.10752, appendix G);
        `"channels"` moves and scales each channel to mean 0 and standard deviation 1 there.
      draw: where the folder holds Gaussians: True draws z ~ q(z|x) anew whenever an example is
        used; False takes the mean.
      group: the name of the group of latents, where the model has several.
      in_memory: as for `Codes`.
      verify: as for `Codes`.
      validation_fraction: as for `Codes`.

    Raises:
      ConfigurationError: the folder does not exist.
      ValueError: another setting is out of range.
    """

    content = "latents"

    def __init__(self, folder: str, scaling: str = "none", draw: bool = False, **kwargs: Any):
        super().__init__(folder, **kwargs)
        self.scaling = validation.one_of("Latents.scaling", scaling, SCALINGS)
        self.draw = validation.boolean("Latents.draw", draw)

    def transforms(self, group: str) -> dict[str, Transform]:
        """Moves and scales latents, in float64; as (z − shift) · scale, of Gaussians mean and variance."""
        arrays = self.manifest.groups[group].arrays
        if self.draw and "log_variance" not in arrays:
            raise ConfigurationError(
                f"`Latents.draw` needs the mean and the variance of each latent, and {self.folder} holds one "
                "number; encode with encode.latents = 'distribution', or leave the setting out"
            )
        shift, scale = self.shift_and_scale(group)
        value = "mean" if "mean" in arrays else "latents"
        transforms: dict[str, Transform] = {value: lambda stored: (stored.astype(np.float64) - shift) * scale}
        if self.draw:
            transforms["log_variance"] = lambda stored: stored + 2.0 * np.log(scale)
        return transforms

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Returns latents as the model that was encoded has them: without moving and scaling, in their shape.

        Args:
          values: latents as a model sees them, `[n, h, w, D]`.
        """
        group = self.chosen_group()
        shift, scale = self.shift_and_scale(group)
        shape = next(iter(self.manifest.groups[group].arrays.values()))
        return (np.asarray(values, np.float64) / scale + shift).reshape(-1, *shape).astype(np.float32)

    def shift_and_scale(self, group: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns what is subtracted of latents, and what they are multiplied by then: float64 `[D]`, `[1]`.

        Raises:
          DataError: the training split was not encoded, or never changes.
        """
        if self.scaling == "none":
            return np.zeros(1), np.ones(1)
        if SPLITS[0] not in self.manifest.statistics:
            raise DataError(
                f"`Latents.scaling` needs the mean and deviation of the training split, which {self.folder} "
                "does not hold; encode it too, or leave the setting out"
            )
        found = self.manifest.statistics[SPLITS[0]][group][self.scaling]
        deviation = found["sample_deviation" if self.draw else "deviation"]
        if not (deviation > 0).all():
            raise DataError(
                f"the latents in {self.folder} have a standard deviation of {deviation.min():g}, by "
                "which nothing can be scaled; leave `Latents.scaling` out"
            )
        shift = found["mean"] if self.scaling == "channels" else np.zeros(1)
        with np.errstate(over="ignore"):  # What is then not finite is refused with its example.
            return shift, 1.0 / deviation
