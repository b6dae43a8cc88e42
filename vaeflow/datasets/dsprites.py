"""The published dSprites file: 737,280 sprites on a grid of five factors."""

import contextlib
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.datasets import labels
from vaeflow.datasets.array_files import (
    StoredArray,
    archive_member,
    check_memory,
    opened_archive,
    readable,
)
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.held_out import held_out_split
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.datasets.pixels import NATIVE_RANGES
from vaeflow.datasets.remote import Source
from vaeflow.datasets.rendered_sprites import FACTOR_NAMES, FACTOR_SIZES
from vaeflow.errors import ConfigurationError, DataError

_CHUNK_EXAMPLES = 8192


@registry.dataset
class DSprites(Dataset):
    """dSprites (Matthey et al. 2017): white sprites on black, `[64, 64, 1]`, uint8 0 or 255.

    A split is held in memory (3 GB for training); reading it takes no more memory than
    that. The pickled `metadata` in the file is never read. The factors are those of
    `FACTOR_NAMES`; the file's constant colour is left out.

    Args:
      file: `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`, as published at
        https://github.com/google-deepmind/dsprites-dataset, or its URL.
      num_evaluation: the number of examples held out for evaluation, the same for every
        seed of a run; at most a tenth of all.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: `file` does not exist.
      ValueError: another setting is out of range.
    """

    def __init__(self, file: str, num_evaluation: int = 10_000, **kwargs: Any):
        super().__init__(**kwargs)
        self._source = Source("DSprites.file", file, is_file=True)
        self.num_evaluation = validation.positive_integer("DSprites.num_evaluation", num_evaluation)
        if self._source.is_missing():
            raise ConfigurationError(
                f"`DSprites.file` must be the published .npz file, got {file!r}, which does not exist; "
                "download it, or use RenderedSprites, which needs no file"
            )

    @property
    def file(self) -> pathlib.Path:
        """The file on this machine; see `Source.path`."""
        return self._source.path

    def load(self, name: str) -> Split:
        """Reads a split: uint8 `[N, H, W, 1]`, held in memory; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)

        def chosen(num_examples: int) -> np.ndarray:
            held_out = min(self.num_evaluation, num_examples // 10)
            return held_out_split(name, num_examples, held_out, "DSprites.num_evaluation")

        return self._read(chosen)

    def load_grid(self) -> Split:
        """Reads all sprites, uint8 `[N, H, W, 1]`, held in memory; see `Dataset.load_grid`."""
        return self._read(np.arange)

    def _read(self, chosen: Callable[[int], np.ndarray]) -> Split:
        """Reads the sprites whose increasing indices `chosen` returns for the number of all."""
        with readable(self.file), opened_archive(self.file) as archive, contextlib.ExitStack() as stack:
            classes = self._classes(archive_member(stack, archive, self.file, "latents_classes"))
            indices = chosen(len(classes))
            sprites = archive_member(stack, archive, self.file, "imgs")
            if len(sprites.shape) != 3 or len(classes) != sprites.shape[0] or sprites.dtype != np.uint8:
                raise DataError(
                    f"{self.file}: `imgs` is {sprites.dtype} {sprites.shape}; expected uint8 "
                    f"[{len(classes)}, H, W]"
                )
            images = _read_images(sprites, indices)
        return InMemorySplit(
            images,
            classes[indices],
            FACTOR_NAMES,
            layout="NHWC",
            pixel_range=NATIVE_RANGES["uint8"],
            factor_sizes=FACTOR_SIZES,
        )

    def _classes(self, stored: StoredArray) -> np.ndarray:
        """Reads the factors, int64 `[N, 5]`, without the constant colour."""
        shape, dtype = stored.shape, stored.dtype
        if len(shape) != 2 or shape[1] != 1 + len(FACTOR_NAMES) or dtype.kind not in "iu":
            raise DataError(f"{self.file}: `latents_classes` is {dtype} {shape}; expected integers [N, 6]")
        check_memory(shape[0] * shape[1] * dtype.itemsize, stored.place)
        classes = labels.checked(stored.read_rows(shape[0])[:, 1:], stored.place)
        labels.check_sizes(classes, FACTOR_NAMES, FACTOR_SIZES, lambda row: f"{stored.place}, record {row}")
        return classes


def _read_images(stored: StoredArray, indices: np.ndarray) -> np.ndarray:
    """Reads the sprites at increasing `indices`: uint8 `[n, H, W, 1]`, 0 or 255."""
    shape = (len(indices), *stored.shape[1:], 1)
    check_memory(math.prod(shape), stored.place)
    images = np.empty(shape, np.uint8)
    for start, chunk in stored.chunks(_CHUNK_EXAMPLES):
        if chunk.max() > 1:
            record = start + int(np.argmax(chunk.max(axis=(1, 2)) > 1))
            raise DataError(f"{stored.place}, record {record}: a pixel is {chunk.max()}; expected 0 or 1")
        first, last = np.searchsorted(indices, (start, start + len(chunk)))
        images[first:last, ..., 0] = chunk[indices[first:last] - start] * 255
    return images
