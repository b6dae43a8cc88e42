"""PNG, JPEG and WebP files in a folder of the user."""

import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.decoding import CHANNELS, checked_image_size, decode_image, decode_images
from vaeflow.errors import ConfigurationError, DataError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_TRAIN_FOLDER = "train"
_EVALUATION_FOLDERS = ("evaluation", "test", "val")


@registry.dataset
class ImageFolder(Dataset):
    """Image files in a folder, decoded on demand: `[H, W, C]`, uint8.

    Files are found recursively, except those whose own or whose folder's name begins with a
    dot. If the folder has a sub-folder `train` and one named `evaluation`, `test` or `val`
    (the first of them that exists), these are the splits. Otherwise a file's own path
    decides whether it is held out, so adding files never moves another one. If every file
    lies in a sub-folder of its split, the name of that sub-folder is its label, the factor
    `folder`. Only the paths are held in memory. The orientation tag of a JPEG is ignored.

    Args:
      folder: the folder.
      image_size: `(H, W)`. Images are scaled with antialiasing until they cover it, then
        cropped equally on both sides. None keeps the size of the images, which must all
        have the same.
      channels: 1 (gray), 3 (RGB, alpha dropped) or 4 (RGBA, not for JPEG).
      evaluation_fraction: the part that is held out if no sub-folders are the splits.
      cache: True caches decoded images in a temporary file, see `CachedSplit`.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: `folder` does not exist, or `image_size` is not a pair.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        folder: str,
        image_size: Sequence[int] | None = (64, 64),
        channels: int = 3,
        evaluation_fraction: float = 0.1,
        cache: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.folder = validation.path("ImageFolder.folder", folder)
        if not self.folder.is_dir():
            raise ConfigurationError(f"`ImageFolder.folder` must be an existing folder, got {str(folder)!r}")
        self.image_size = checked_image_size("ImageFolder.image_size", image_size)
        self.channels = validation.one_of("ImageFolder.channels", channels, CHANNELS)
        self.evaluation_fraction = validation.fraction("ImageFolder.evaluation_fraction", evaluation_fraction)
        self.cache = validation.boolean("ImageFolder.cache", cache)

    def load(self, name: str) -> Split:
        """Lists the files of a split, whose images are read on demand; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        roots = self._split_folders()
        paths = self._paths(roots)
        for split in SPLITS if self.image_size is None else (name,):
            if not paths[split]:
                raise DataError(
                    f"{roots[split]} holds no file for the {split} split that ends in {', '.join(_SUFFIXES)} "
                    f"({sum(map(len, paths.values()))} for the other split); add files, or change "
                    f"`ImageFolder.evaluation_fraction`, which is {self.evaluation_fraction}"
                )
        reference, size = None, self.image_size
        if size is None:
            reference = paths["train"][0]
            size = decode_image(_read(reference), reference, self.channels).shape[:2]
        labels = {split: [_label(path, roots[split]) for path in paths[split]] for split in SPLITS}
        classes = sorted(set(labels["train"] + labels["evaluation"]), key=str)
        codes = {label: code for code, label in enumerate(classes)}
        chosen = None if None in codes else [codes[label] for label in labels[name]]
        split = FileSplit(paths[name], (*size, self.channels), reference, chosen)
        return CachedSplit(split) if self.cache else split

    def _split_folders(self) -> dict[str, pathlib.Path]:
        """Returns the folder of each split."""
        train = self.folder / _TRAIN_FOLDER
        others = [self.folder / other for other in _EVALUATION_FOLDERS if (self.folder / other).is_dir()]
        if not (train.is_dir() and others):
            return dict.fromkeys(SPLITS, self.folder)
        return {"train": train, "evaluation": others[0]}

    def _paths(self, roots: dict[str, pathlib.Path]) -> dict[str, list[str]]:
        if roots["train"] != roots["evaluation"]:
            return {split: list(_image_files(root)) for split, root in roots.items()}
        paths = {split: [] for split in SPLITS}
        for path in _image_files(self.folder):
            paths["evaluation" if self._is_held_out(path) else "train"].append(path)
        return paths

    def _is_held_out(self, path: str) -> bool:
        relative = pathlib.PurePath(os.path.relpath(path, self.folder)).as_posix()
        digest = hashlib.sha256(os.fsencode(relative)).digest()
        return int.from_bytes(digest[:8], "big") < self.evaluation_fraction * 2**64


class FileSplit(Split):
    """Images in files of their own.

    Args:
      paths: the files.
      shape: `(H, W, C)` of the images.
      reference_image: the path of the image whose size all must share; None resizes
        images of another size instead.
      labels: an integer for each file, or None.
    """

    def __init__(
        self,
        paths: list[str],
        shape: tuple[int, ...],
        reference_image: str | None,
        labels: Sequence[int] | None,
    ):
        super().__init__(len(paths), shape, "uint8")
        self._paths = paths
        self._reference_image = reference_image
        self._labels = None if labels is None else np.array(labels, np.int64)
        self.factor_names = () if labels is None else ("folder",)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return None if self._labels is None else self._labels[indices][:, None]

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        def names(chosen):
            return np.array([os.fsencode(self._paths[index]) for index in chosen], object)

        paths = tf.numpy_function(names, [indices], tf.string, stateful=False)
        fit = self._reference_image is None
        return decode_images(tf.ensure_shape(paths, (None,)), tf.io.read_file, self.shape, fit, retry)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Decodes images one by one, so that an error names the file: `[n, H, W, C]`, uint8."""
        return np.array([self._image(self._paths[i]) for i in indices], np.uint8).reshape(-1, *self.shape)

    def _image(self, path: str) -> np.ndarray:
        size = self.shape[:2] if self._reference_image is None else None
        image = decode_image(_read(path), path, self.shape[2], size)
        if image.shape != self.shape:
            raise DataError(
                f"{path} is {image.shape[0]}x{image.shape[1]} pixels, expected "
                f"{self.shape[0]}x{self.shape[1]} as in {self._reference_image}; set `ImageFolder.image_size`"
            )
        return image


def _image_files(folder: pathlib.Path) -> Iterator[str]:
    """Yields the paths of the image files in a folder, sorted, without hidden ones."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)  # noqa: PTH118 A string takes a tenth of a Path's memory.


def _label(path: str, root: pathlib.Path) -> str | None:
    parts = pathlib.PurePath(os.path.relpath(path, root)).parts
    return parts[0] if len(parts) > 1 else None


def _read(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; put the file back, or start again") from error
