"""The published dSprites file: 737,280 sprites on a grid of five factors."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, InMemorySplit, Split, held_out_split
from vaeflow.errors import ConfigurationError, DataError

FACTOR_NAMES = ("shape", "scale", "orientation", "x_position", "y_position")
_CHUNK_EXAMPLES = 8192


@registry.dataset
class DSprites(Dataset):
    """dSprites (Matthey et al. 2017): white sprites on black, `[64, 64, 1]`, uint8 0 or 255.

    A split is held in memory (3 GB for training); reading it takes no more memory than
    that. The pickled `metadata` in the file is never read. The factors are those of
    `FACTOR_NAMES`; the file's constant colour is left out.

    Args:
      file: `dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz`, as published at
        https://github.com/google-deepmind/dsprites-dataset.
      num_evaluation: the number of examples held out for evaluation, the same for every
        seed of a run; at most a tenth of all.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: `file` does not exist.
      ValueError: another setting is out of range.
    """

    def __init__(self, file: str, num_evaluation: int = 10_000, **kwargs: Any):
        super().__init__(**kwargs)
        self.file = validation.path("DSprites.file", file)
        self.num_evaluation = validation.positive_integer("DSprites.num_evaluation", num_evaluation)
        if not self.file.is_file():
            raise ConfigurationError(
                f"`DSprites.file` must be the published .npz file, got {file!r}, which does not exist; "
                "download it, or use RenderedSprites, which needs no file"
            )

    def load(self, name: str) -> Split:
        """Reads a split: uint8 `[N, H, W, 1]`, held in memory; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        try:
            with zipfile.ZipFile(self.file) as archive:
                return self._read(archive, name)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, (DataError, ConfigurationError)):
                raise
            raise DataError(
                f"{self.file} cannot be read: {error}; expected the published .npz with `imgs` and "
                "`latents_classes`; download it again"
            ) from error

    def _read(self, archive: zipfile.ZipFile, name: str) -> InMemorySplit:
        with _member(archive, "latents_classes") as (stream, shape, dtype):
            if len(shape) != 2 or shape[1] != 1 + len(FACTOR_NAMES) or dtype.kind not in "iu":
                raise DataError(
                    f"{self.file}: `latents_classes` is {dtype} {shape}; expected integers [N, 6]"
                )
            classes = _read_rows(stream, shape[0], shape, dtype)[:, 1:].astype(np.int64)
        held_out = min(self.num_evaluation, len(classes) // 10)
        indices = held_out_split(name, len(classes), held_out, "DSprites.num_evaluation")
        with _member(archive, "imgs") as (stream, shape, dtype):
            if len(shape) != 3 or len(classes) != shape[0] or dtype != np.uint8:
                raise DataError(
                    f"{self.file}: `imgs` is {dtype} {shape}; expected uint8 [{len(classes)}, H, W]"
                )
            images = self._read_images(stream, shape, indices)
        return InMemorySplit(images, classes[indices], FACTOR_NAMES)

    def _read_images(self, stream: IO[bytes], shape: tuple[int, ...], indices: np.ndarray) -> np.ndarray:
        images = np.empty((len(indices), *shape[1:], 1), np.uint8)
        for start in range(0, shape[0], _CHUNK_EXAMPLES):
            chunk = _read_rows(stream, min(_CHUNK_EXAMPLES, shape[0] - start), shape, np.dtype(np.uint8))
            if chunk.max() > 1:
                record = start + int(np.argmax(chunk.max(axis=(1, 2)) > 1))
                raise DataError(f"{self.file}, record {record}: a pixel is {chunk.max()}; expected 0 or 1")
            first, last = np.searchsorted(indices, (start, start + len(chunk)))
            images[first:last, ..., 0] = chunk[indices[first:last] - start] * 255
        return images


@contextlib.contextmanager
def _member(
    archive: zipfile.ZipFile, name: str
) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """Opens one array of an npz archive: (stream at its first row, shape, dtype)."""
    with archive.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, column_major, dtype = read_header(stream)
        if column_major or dtype.hasobject or not shape:
            raise ValueError(f"`{name}` is not a row-major array of numbers")
        yield stream, shape, dtype


def _read_rows(stream: IO[bytes], num_rows: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    size = num_rows * int(np.prod(shape[1:])) * dtype.itemsize
    content = stream.read(size)
    if len(content) != size:
        raise EOFError(f"the file is cut short, {size - len(content)} bytes are missing")
    return np.frombuffer(content, dtype).reshape(num_rows, *shape[1:])
