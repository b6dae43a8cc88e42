"""Images from an array in a .npy, .npz or HDF5 file."""

import contextlib
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, InMemorySplit, Split, held_out_split, num_held_out
from vaeflow.errors import ConfigurationError, DataError

_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")
_CHUNK_BYTES = 64 * 2**20


@registry.dataset
class Arrays(Dataset):
    """Images from arrays `[N, H, W]` or `[N, H, W, C]` in files, held in memory.

    Pixels are uint8 in 0 … 255, or floats in [0, 1] (held as float32). Python
    objects are never unpickled.

    Args:
      train: a `.npy`, `.npz`, `.h5` or `.hdf5` file.
      evaluation: another such file with images of the same shape and dtype. None holds
        out a part of `train`, the same for every seed of a run.
      key: the name of the array inside a `.npz` or HDF5 file, e.g. `"images"` or
        `"group/images"`. None needs a file with one array only.
      evaluation_fraction: the part of `train` that is held out if `evaluation` is None.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: a file does not exist or has another suffix.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        train: str,
        evaluation: str | None = None,
        key: str | None = None,
        evaluation_fraction: float = 0.1,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.train = _checked_path("Arrays.train", train)
        self.evaluation = None if evaluation is None else _checked_path("Arrays.evaluation", evaluation)
        self.key = key
        self.evaluation_fraction = validation.fraction("Arrays.evaluation_fraction", evaluation_fraction)

    def load(self, name: str) -> Split:
        """Reads a split in chunks and checks its pixels; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        path = self.evaluation if name == "evaluation" and self.evaluation is not None else self.train
        with _opened(path, self.key) as source:
            _check_layout(source, path)
            if self.evaluation is None:
                num_evaluation = num_held_out(len(source), self.evaluation_fraction)
                setting = "Arrays.evaluation_fraction"
                indices = held_out_split(name, len(source), num_evaluation, setting)
            else:
                indices = np.arange(len(source))
                self._check_same_layout(source, path)
            return InMemorySplit(_read(source, indices, path))

    def _check_same_layout(self, source: Any, path: pathlib.Path) -> None:
        if path == self.train:
            return
        with _opened(self.train, self.key) as train:
            if (source.shape[1:], source.dtype.kind) != (train.shape[1:], train.dtype.kind):
                raise DataError(
                    f"{path} holds {source.dtype} images {source.shape[1:]}, {self.train} holds "
                    f"{train.dtype} images {train.shape[1:]}; expected the same in both files"
                )


def _checked_path(setting: str, value: str) -> pathlib.Path:
    path = validation.path(setting, value)
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigurationError(
            f"`{setting}` must be a file that ends in {', '.join(_SUFFIXES)}; got {value!r}"
        )
    if not path.is_file():
        raise ConfigurationError(f"`{setting}` must be an existing file, got {value!r}")
    return path


@contextlib.contextmanager
def _opened(path: pathlib.Path, key: str | None) -> Iterator[Any]:
    """Opens the array in a file: an object with `shape` and `dtype`, which reads its slices on demand."""
    with contextlib.ExitStack() as stack:
        try:
            if path.suffix.lower() == ".npy":
                source = np.load(path, mmap_mode="r", allow_pickle=False)
            elif path.suffix.lower() == ".npz":
                # Opened here, since NumPy leaves a damaged archive open.
                file = stack.enter_context(path.open("rb"))
                archive = stack.enter_context(np.load(file, allow_pickle=False))
                source = archive[_chosen_key(path, key, archive.files)]
            else:
                source = _hdf5_array(stack, path, key)
            yield source
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, (DataError, ConfigurationError)):
                raise
            raise DataError(
                f"{path} cannot be read: {error}; expected an intact file with a plain array of numbers"
            ) from error


def _hdf5_array(stack: contextlib.ExitStack, path: pathlib.Path, key: str | None) -> Any:
    import h5py

    file = stack.enter_context(h5py.File(path, "r"))
    names = []

    def note_array(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            names.append(name)

    file.visititems(note_array)
    return file[_chosen_key(path, key, names)]


def _chosen_key(path: pathlib.Path, key: str | None, names: list[str]) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        raise DataError(
            f"{path} holds the arrays {', '.join(sorted(names)) or '(none)'}; set `Arrays.key` to one of "
            f"them, got {key!r}"
        )
    return key


def _check_layout(source: Any, path: pathlib.Path) -> None:
    if len(source.shape) not in (3, 4) or 0 in source.shape:
        raise DataError(
            f"{path} holds an array of shape {tuple(source.shape)}; expected [N, H, W] or [N, H, W, C] "
            "with sizes of at least 1"
        )
    if source.dtype != np.uint8 and source.dtype.kind != "f":
        raise DataError(
            f"{path} holds {source.dtype}; expected uint8 in 0 … 255 or floats in [0, 1]; convert the array"
        )


def _read(source: Any, indices: np.ndarray, path: pathlib.Path) -> np.ndarray:
    """Reads the images at increasing `indices`: `[n, H, W, C]`, uint8 or float32."""
    shape = source.shape[1:] if len(source.shape) == 4 else (*source.shape[1:], 1)
    dtype = np.uint8 if source.dtype == np.uint8 else np.float32
    images = np.empty((len(indices), *shape), dtype)
    rows = max(1, _CHUNK_BYTES // (source.dtype.itemsize * int(np.prod(shape))))
    for start in range(0, len(source), rows):
        first, last = np.searchsorted(indices, (start, start + rows))
        records = indices[first:last]
        chunk = np.asarray(source[start : start + rows])[records - start]
        if dtype == np.float32:
            _check_floats(chunk, records, path)
        images[first:last] = chunk.reshape((len(chunk), *shape))
    if dtype == np.uint8 and images.max() <= 1:
        raise DataError(
            f"{path} holds uint8 pixels of at most {images.max()}, which look black; expected 0 … 255; "
            "multiply the pixels by 255"
        )
    return images


def _check_floats(chunk: np.ndarray, records: np.ndarray, path: pathlib.Path) -> None:
    # NaN compares false, so this form counts it as bad.
    bad = ~((chunk >= 0) & (chunk <= 1))
    if bad.any():
        position = int(np.argmax(bad))
        record = records[position // (bad.size // len(bad))]
        raise DataError(
            f"{path}, record {record}: a pixel is {chunk.reshape(-1)[position]}; expected a finite number "
            "in [0, 1]; scale or clip the file's pixels"
        )
