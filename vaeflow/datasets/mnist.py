"""MNIST and Fashion-MNIST, from a folder with their four IDX files or from Keras' cache."""

import gzip
import pathlib
import zlib
from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, InMemorySplit, Split
from vaeflow.errors import ConfigurationError, DataError

_PREFIXES = {"train": "train", "evaluation": "t10k"}
_IMAGES = "{}-images-idx3-ubyte"
_LABELS = "{}-labels-idx1-ubyte"
_UNSIGNED_BYTE = 0x08
_IMAGE_SHAPE = (28, 28)
_NUM_CLASSES = 10


class IDXImages(Dataset):
    """Images `[28, 28, 1]`, uint8, with one label each, in the layout of MNIST.

    Args:
      folder: a folder with the four IDX files, gzipped (`.gz`) or not:
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
        self.folder = None if folder is None else validation.path(f"{type(self).__name__}.folder", folder)
        if self.folder is not None and not self.folder.is_dir():
            raise ConfigurationError(
                f"`{type(self).__name__}.folder` must be an existing folder with the files "
                f"{_file_names()}; got {str(folder)!r}"
            )

    def load(self, name: str) -> Split:
        """Reads a split: uint8 `[N, 28, 28, 1]`, held in memory; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        if self.folder is None:
            images, labels = self._load_from_keras(name)
        else:
            images, labels = _load_from_folder(self.folder, _PREFIXES[name])
        return InMemorySplit(images[..., None], labels.astype(np.int64)[:, None], (self.label_name,))

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
    """Reads an IDX file of unsigned bytes, gzipped if its name ends in `.gz`.

    Args:
      path: the file.

    Returns:
      A uint8 array with the shape that the header gives.

    Raises:
      DataError: the file is missing, cut short, or not an IDX file of bytes.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; download it again") from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(f"{path} is not an IDX file: it begins with {content[:4].hex() or 'nothing'}")
    if content[2] != _UNSIGNED_BYTE:
        raise DataError(
            f"{path} has the IDX type 0x{content[2]:02x}; expected unsigned bytes, 0x{_UNSIGNED_BYTE:02x}"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{path} is cut short inside its header of {start} bytes; download it again")
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    expected = start + int(np.prod(shape, dtype=object))
    if len(content) != expected:
        raise DataError(
            f"{path} has {len(content)} bytes, expected {expected} from the shape {shape} in its header; "
            "download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _load_from_folder(folder: pathlib.Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    images_path = _find(folder, _IMAGES.format(prefix))
    labels_path = _find(folder, _LABELS.format(prefix))
    images, labels = read_idx(images_path), read_idx(labels_path)
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
    return images, labels


def _find(folder: pathlib.Path, stem: str) -> pathlib.Path:
    for path in (folder / f"{stem}.gz", folder / stem):
        if path.is_file():
            return path
    raise DataError(f"{folder} lacks {stem} (or {stem}.gz); expected the four files {_file_names()}")


def _file_names() -> str:
    return ", ".join(
        pattern.format(prefix) for prefix in _PREFIXES.values() for pattern in (_IMAGES, _LABELS)
    )
