"""MNIST and Fashion-MNIST, from a folder with their four IDX files or from Keras' cache."""

import gzip
import math
import pathlib
import zlib
from typing import IO, Any

import numpy as np
from absl import logging

from vaeflow import registry, validation
from vaeflow.datasets.array_files import check_memory
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.datasets.regular_files import open_regular
from vaeflow.datasets.remote import Source
from vaeflow.errors import ConfigurationError, DataError

_PREFIXES = {"train": "train", "evaluation": "t10k"}
_IMAGES = "{}-images-idx3-ubyte"
_LABELS = "{}-labels-idx1-ubyte"
_UNSIGNED_BYTE = 0x08
_IMAGE_SHAPE = (28, 28)
_NUM_CLASSES = 10
_GZIP = b"\x1f\x8b"
_MOST_DIMENSIONS = 3
_DARKEST_WHITE = 64


class IDXImages(Dataset):
    """Images `[28, 28, 1]`, uint8, with one label each, in the layout of MNIST.

    Args:
      folder: a folder, or its URL, with the four IDX files, gzipped (`.gz`) or not:
        `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
        `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`. None takes the files that
        Keras cached, or lets Keras download them.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: `folder` does not exist.
    """

    keras_name: str
    label_name: str

    def __init__(self, folder: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self._source = None if folder is None else Source(f"{type(self).__name__}.folder", folder)
        if self._source is not None and self._source.is_missing():
            raise ConfigurationError(
                f"`{type(self).__name__}.folder` must be an existing folder with the files "
                f"{_file_names()}; got {str(folder)!r}"
            )

    @property
    def folder(self) -> pathlib.Path | None:
        """The folder on this machine, or None; see `Source.path`."""
        return None if self._source is None else self._source.path

    def load(self, name: str) -> Split:
        """Reads a split: uint8 `[N, 28, 28, 1]`, held in memory; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        if self.folder is None:
            images, labels = self._load_from_keras(name)
        else:
            images, labels = _load_from_folder(self.folder, _PREFIXES[name])
        return InMemorySplit(images[..., None], labels, (self.label_name,), factor_sizes=(_NUM_CLASSES,))

    def _load_from_keras(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        import keras

        try:
            splits = getattr(keras.datasets, self.keras_name).load_data()
        # Keras raises a plain Exception if the download fails.
        except Exception as error:
            own = type(self).__name__
            raise DataError(
                f"{own} is neither cached by Keras nor could be downloaded "
                f"(tried keras.datasets.{self.keras_name}.load_data(): {error}); set `{own}.folder` to a "
                f"folder with the files {_file_names()}, or use a dataset that needs no download, "
                "e.g. RenderedSprites"
            ) from error
        return splits[SPLITS.index(name)]


@registry.dataset
class MNIST(IDXImages):
    """Handwritten digits, 60,000 to train and 10,000 to evaluate (LeCun et al. 1998).

    The one factor is `digit`, 0 to 9. See `IDXImages` for `Args` and `Raises`.
    """

    keras_name = "mnist"
    label_name = "digit"


@registry.dataset
class FashionMNIST(IDXImages):
    """Zalando's articles, 60,000 to train and 10,000 to evaluate (arXiv:1708.07747).

    The one factor is `article`, 0 to 9. See `IDXImages` for `Args` and `Raises`.
    """

    keras_name = "fashion_mnist"
    label_name = "article"


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, gzipped or not, whatever its name.

    Args:
      path: the file.

    Returns:
      A uint8 array with the shape that the header gives.

    Raises:
      DataError: the file is missing, cut short, or not an IDX file of bytes.
    """
    with open_regular(path) as file:
        is_gzipped = file.read(2) == _GZIP
        file.seek(0)
        try:
            return _read_stream(gzip.GzipFile(fileobj=file) if is_gzipped else file, path)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} cannot be read: {error}; download it again") from error


def _read_stream(stream: IO[bytes] | gzip.GzipFile, path: pathlib.Path) -> np.ndarray:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: it begins with {start.hex() or 'nothing'}")
    if start[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{path} has the IDX type 0x{start[2]:02x}; expected unsigned bytes, 0x{_UNSIGNED_BYTE:02x}"
        )
    if not 1 <= start[3] <= _MOST_DIMENSIONS:
        raise DataError(
            f"{path} has {start[3]} dimensions in its header; expected 1 (labels) or 3 (images); download it "
            "again"
        )
    length = 4 + 4 * start[3]
    sizes = stream.read(length - 4)
    if len(sizes) < length - 4:
        raise DataError(f"{path} is cut short inside its header of {length} bytes; download it again")
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    expected = math.prod(shape)
    check_memory(expected, path)
    # One more than expected, which must not be there.
    content = stream.read(expected + 1)
    if len(content) != expected:
        at_least = "at least " if len(content) > expected else ""
        raise DataError(
            f"{path} has {at_least}{length + len(content)} bytes, expected {length + expected} from the "
            f"shape {shape} in its header; download it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _load_from_folder(folder: pathlib.Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    images_path, images = _read_first(folder, _IMAGES.format(prefix))
    labels_path, labels = _read_first(folder, _LABELS.format(prefix))
    if images.shape[1:] != _IMAGE_SHAPE or not len(images):
        raise DataError(f"{images_path} holds {images.shape}; expected [N, 28, 28] with N of at least 1")
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{labels_path} holds labels of shape {labels.shape} for the {len(images)} images of "
            f"{images_path.name}; expected ({len(images)},)"
        )
    if labels.max() >= _NUM_CLASSES:
        record = int(np.argmax(labels >= _NUM_CLASSES))
        raise DataError(f"{labels_path}, record {record}: the label is {labels[record]}; expected 0 to 9")
    if images.max() < _DARKEST_WHITE:
        raise DataError(
            f"{images_path} holds pixels of at most {images.max()}, which look black; expected 0 … 255; save "
            "them as a .npy file, and set `Arrays.pixel_range`"
        )
    return images, labels


def _read_first(folder: pathlib.Path, stem: str) -> tuple[pathlib.Path, np.ndarray]:
    """Reads the gzipped or the plain file of a name, whichever is intact: its path, and the array."""
    paths = [path for path in (folder / f"{stem}.gz", folder / stem) if path.exists()]
    if not paths:
        raise DataError(f"{folder} lacks {stem} (or {stem}.gz); expected the four files {_file_names()}")
    damages: list[DataError] = []
    for path in paths:
        try:
            return path, read_idx(path)
        except DataError as error:
            damages.append(error)
            if path != paths[-1]:
                logging.warning("%s; reading %s instead", error, paths[-1])
    raise damages[0]


def _file_names() -> str:
    return ", ".join(
        pattern.format(prefix) for prefix in _PREFIXES.values() for pattern in (_IMAGES, _LABELS)
    )
