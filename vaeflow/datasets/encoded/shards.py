"""The shards of a split, read by the numbers of the examples in the split."""

import hashlib
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from vaeflow.datasets.encoded.formats import FORMATS, Reader
from vaeflow.datasets.encoded.manifest import Manifest, Shard
from vaeflow.datasets.regular_files import check_regular, open_regular
from vaeflow.errors import DataError
from vaeflow.runs import watchdog


class Shards:
    """The arrays of a split.

    Args:
      manifest: the `Manifest` of its folder.
      split: its name.

    Raises:
      DataError: a shard is missing, or of another size than the manifest says.
    """

    def __init__(self, manifest: Manifest, split: str):
        self._manifest = manifest
        self._shards = manifest.shards[split]
        self._paths = [manifest.shard_path(split, number) for number in range(len(self._shards))]
        self._ends = np.cumsum([shard.num_examples for shard in self._shards])
        self._readers: dict[int, Reader] = {}
        for path, shard in zip(self._paths, self._shards, strict=True):
            _check_size(path, shard)

    @property
    def num_examples(self) -> int:
        """The number of examples in all shards."""
        return int(self._ends[-1])

    def verify(self) -> None:
        """Compares the digest of each file with that in the manifest.

        Raises:
          DataError: one is another.
        """
        for path, shard in zip(self._paths, self._shards, strict=True):
            watchdog.progress(f"verifying {path}")
            if (found := file_sha256(path)) != shard.sha256:
                raise DataError(
                    f"{path} is damaged, or of another encoding: its SHA-256 is {found}, the manifest has "
                    f"{shard.sha256}; put it back, or remove it and run `vaeflow encode` again"
                )

    def content_digest(self) -> str:
        """Returns a digest of the content of all shards, made from those in the manifest."""
        return hashlib.sha256("".join(shard.sha256 for shard in self._shards).encode()).hexdigest()

    def describe(self, index: int) -> str:
        """Names an example for an error, by its file and its number in the file."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return f"{self._paths[number]}, record {index - self._first(number)}"

    def chunks(self, names: tuple[str, ...]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yields for each shard the number of its first example, and its arrays `[n, …]` of some names."""
        for number, shard in enumerate(self._shards):
            watchdog.progress(f"reading {self._paths[number]}")
            yield self._first(number), self._reader(number)(np.arange(shard.num_examples), names)

    def read(self, indices: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Reads examples.

        Args:
          indices: their numbers in the split, int64 `[n]`, in any order.
          names: the arrays to read.

        Returns:
          Name -> `[n, …]`; integers may be of a larger type than the manifest says.

        Raises:
          DataError: a shard cannot be read.
        """
        specs = self._manifest.specs
        found: Mapping[str, np.ndarray] = {
            name: np.empty((len(indices), *specs[name].shape), _read_dtype(specs[name].dtype))
            for name in names
        }
        numbers = np.searchsorted(self._ends, indices, side="right")
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            rows, order = np.unique(indices[places] - self._first(number), return_inverse=True)
            for name, values in self._reader(number)(rows, names).items():
                found[name][places] = values[order]
        return dict(found)

    def _first(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0

    def _reader(self, number: int) -> Reader:
        if number not in self._readers:
            chosen, count = FORMATS[self._manifest.file_format], self._shards[number].num_examples
            self._readers[number] = chosen.open(self._paths[number], self._manifest.specs, count)
        return self._readers[number]


def file_sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file.

    Raises:
      DataError: it cannot be read.
    """
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType] Typeshed.
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}; check the disk") from error


def _check_size(path: pathlib.Path, shard: Shard) -> None:
    found = check_regular(path).st_size
    if found != shard.num_bytes:
        raise DataError(
            f"{path} has {found} bytes, the manifest has {shard.num_bytes}: it was cut short, or is of "
            "another encoding; put it back, or remove it and run `vaeflow encode` again"
        )


def _read_dtype(dtype: str) -> str:
    return "int64" if dtype == "int32" else dtype
