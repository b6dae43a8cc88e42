"""The user's own PNG, JPEG and WebP files, found below a folder."""

import hashlib
import os
import pathlib

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.decoding import CHANNELS, decode_image, decode_images
from vaeflow.errors import ConfigurationError, DataError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_TRAIN_FOLDER = "train"
_EVALUATION_FOLDERS = ("evaluation", "test", "val")


@registry.dataset
class ImageFolder(Dataset):
    """Image files below a folder, decoded when asked for: `[H, W, C]`, uint8.

    Files are found recursively; those whose names, or whose folders' names, begin
    with a dot are left out. Where there are sub-folders `train` and one of
    `evaluation`, `test` and `val` (the first of them that exists), these are the
    splits. Otherwise a file's own path decides whether it is held out, so that
    adding files moves no other one. Where every file lies in a sub-folder (of its
    split), the first such folder is its label, the factor `folder`. Only the paths
    are held in memory. The orientation tag of a JPEG is not applied.

    Args:
      folder: the folder.
      image_size: `(H, W)`: images are scaled, antialiased, until they cover it and
        cut to it evenly. None keeps their own size, which must be the same in all.
      channels: 1 (gray), 3 (RGB, alpha dropped) or 4 (RGBA, not for JPEG).
      evaluation_fraction: the part held out where no sub-folders are the splits.
      cache: whether decoded images are kept in a temporary file, see `CachedSplit`.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: `folder` does not exist, or `image_size` is no pair.
      ValueError: another setting is out of range.
    """

    def __init__(
        self, folder, image_size=(64, 64), channels=3, evaluation_fraction=0.1, cache=True, **kwargs
    ):
        super().__init__(**kwargs)
        self.folder = pathlib.Path(folder).expanduser()
        if not self.folder.is_dir():
            raise ConfigurationError(f"`ImageFolder.folder` must be an existing folder, got {str(folder)!r}")
        self.image_size = image_size
        if image_size is not None:
            self.image_size = validation.positive_integers("ImageFolder.image_size", image_size)
            if len(self.image_size) != 2:
                raise ConfigurationError(
                    f"`ImageFolder.image_size` must be (height, width) or None, got {image_size!r}"
                )
        self.channels = validation.one_of("ImageFolder.channels", channels, CHANNELS)
        self.evaluation_fraction = validation.fraction("ImageFolder.evaluation_fraction", evaluation_fraction)
        self.cache = validation.one_of("ImageFolder.cache", cache, (True, False))

    def load(self, name):
        """Lists a split's files; images are read when asked for; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        roots = self._split_folders()
        paths = self._paths(roots)
        for split in SPLITS if self.image_size is None else (name,):
            if not paths[split]:
                raise DataError(
                    f"{roots[split]} holds no file for the {split} split that ends in {', '.join(_SUFFIXES)} "
                    f"({sum(map(len, paths.values()))} for the other); add files, or change "
                    f"`ImageFolder.evaluation_fraction`, which is {self.evaluation_fraction}"
                )
        first = paths["train"][0] if self.image_size is None else None
        size = self.image_size or decode_image(_read(first), first, self.channels).shape[:2]
        labels = {split: [_label(path, roots[split]) for path in paths[split]] for split in SPLITS}
        classes = sorted(set(labels["train"] + labels["evaluation"]), key=str)
        codes = {label: code for code, label in enumerate(classes)}
        chosen = None if None in codes else [codes[label] for label in labels[name]]
        split = FileSplit(paths[name], (*size, self.channels), first, chosen)
        return CachedSplit(split) if self.cache else split

    def _split_folders(self):
        """The folder that each split is read from."""
        train = self.folder / _TRAIN_FOLDER
        others = [self.folder / other for other in _EVALUATION_FOLDERS if (self.folder / other).is_dir()]
        if not (train.is_dir() and others):
            return dict.fromkeys(SPLITS, self.folder)
        return {"train": train, "evaluation": others[0]}

    def _paths(self, roots):
        if roots["train"] != roots["evaluation"]:
            return {split: list(_image_files(root)) for split, root in roots.items()}
        paths = {split: [] for split in SPLITS}
        for path in _image_files(self.folder):
            paths["evaluation" if self._is_held_out(path) else "train"].append(path)
        return paths

    def _is_held_out(self, path):
        relative = pathlib.PurePath(os.path.relpath(path, self.folder)).as_posix()
        digest = hashlib.sha256(os.fsencode(relative)).digest()
        return int.from_bytes(digest[:8], "big") < self.evaluation_fraction * 2**64


class FileSplit(Split):
    """Images in files of their own.

    Args:
      paths: the files.
      shape: `(H, W, C)` of the images.
      model_image: None fits images of another size; a path refuses them, since
        that image has the right one.
      labels: an integer for each file, or None.
    """

    def __init__(self, paths, shape, model_image, labels):
        super().__init__(len(paths), shape, "uint8")
        self._paths = paths
        self._model_image = model_image
        self._labels = None if labels is None else np.array(labels, np.int64)
        self.factor_names = () if labels is None else ("folder",)

    def factors(self, indices):
        return None if self._labels is None else self._labels[indices][:, None]

    def examples(self, indices):
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        def names(chosen):
            return np.array([os.fsencode(self._paths[index]) for index in chosen], object)

        paths = tf.numpy_function(names, [indices], tf.string, stateful=False)
        fit = self._model_image is None
        return decode_images(tf.ensure_shape(paths, (None,)), tf.io.read_file, self.shape, fit, retry)

    def _read(self, indices):
        """Decodes images one by one, so that an error names the file: `[n, H, W, C]`, uint8."""
        return np.array([self._image(self._paths[i]) for i in indices], np.uint8).reshape(-1, *self.shape)

    def _image(self, path):
        size = self.shape[:2] if self._model_image is None else None
        image = decode_image(_read(path), path, self.shape[2], size)
        if image.shape != self.shape:
            raise DataError(
                f"{path} is {image.shape[0]}x{image.shape[1]} pixels, expected "
                f"{self.shape[0]}x{self.shape[1]} as in {self._model_image}; set `ImageFolder.image_size`"
            )
        return image


def _image_files(folder):
    """Yields the paths of the image files below a folder, sorted, hidden ones left out."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)


def _label(path, root):
    parts = os.path.relpath(path, root).split(os.sep)
    return parts[0] if len(parts) > 1 else None


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; put it back, or start again") from error
