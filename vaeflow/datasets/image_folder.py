"""Image files in a folder of the user."""

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets import image_files
from vaeflow.datasets.base import SPLITS, VALIDATION, Dataset, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.decoding import CHANNELS, checked_image_size, decode_image, decode_images, upright
from vaeflow.datasets.regular_files import read_regular
from vaeflow.errors import ConfigurationError, DataError


@registry.dataset
class ImageFolder(Dataset):
    """Image files in a folder, decoded on demand: `[H, W, C]`, uint8.

    Files of the formats PNG, JPEG, WebP, GIF (the first frame), BMP and TIFF are found
    recursively, each real file once, except hidden ones and the thumbnails of systems. If the
    folder has a sub-folder for training and one for evaluation (`train`, `training`; `test`,
    `testing`, `evaluation`, `eval`, `val`, `valid`, `validation`, `dev`; in capitals or not),
    these are the splits. Otherwise a file's own path decides whether it is held out, so
    adding files never moves another one; copies go where the first of them is. If every file lies in
    a sub-folder of its split, that sub-folder is its label, the factor `folder`: the names of the
    training sub-folders in their sorted order are 0, 1, 2, …, in every split. Only the paths
    are held in memory. Images are turned as their orientation tag says.

    Args:
      folder: the folder.
      image_size: `(H, W)`. Images are scaled with antialiasing until they cover it, then
        cropped equally on both sides. None keeps the size of the images, which must all
        have the same.
      channels: 1 (gray), 3 (RGB, alpha dropped) or 4 (RGBA, not for JPEG).
      evaluation_fraction: the part that is held out if no sub-folders are the splits.
      split_folders: the sub-folders of the splits, where they are not recognized, e.g.
        `{"train": "photos", "evaluation": "held_out"}`; also `"validation"`.
      damaged: `"refuse"` ends the run at its start if files are damaged; `"skip"` leaves them
        out, and names them.
      cache: True caches decoded images in a temporary file, see `CachedSplit`.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: `folder` does not exist, `image_size` is not a pair, or several
        sub-folders could be one split.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        folder: str,
        image_size: Sequence[int] | None = (64, 64),
        channels: int = 3,
        evaluation_fraction: float = 0.1,
        split_folders: Mapping[str, str] | None = None,
        damaged: str = "refuse",
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
        self.split_folders = _checked_folders(split_folders)
        self.skips_damaged = validation.one_of("ImageFolder.damaged", damaged, ("refuse", "skip")) == "skip"
        self.cache = validation.boolean("ImageFolder.cache", cache)

    @property
    def has_own_validation(self) -> bool:
        return VALIDATION in self._roots

    def load(self, name: str) -> Split:
        """Lists the files of a split, whose images are read on demand; see `Dataset.load`."""
        validation.one_of("split", name, (*SPLITS, *self._files.paths))
        for split in ("train", name) if self.image_size is None else (name,):
            self._check_not_empty(split)
        paths, digest = image_files.intact(self._files.paths[name], self.skips_damaged)
        if not paths:
            raise DataError(f"all files for the {name} split in {self.folder} are damaged; replace them")
        reference, size = None, self.image_size
        if size is None:
            reference = self._files.paths["train"][0]
            size = decode_image(read_regular(reference), reference, self.channels).shape[:2]
        split = FileSplit(paths, (*size, self.channels), reference, self._folder_labels(name, paths), digest)
        return CachedSplit(split) if self.cache else split

    @functools.cached_property
    def _roots(self) -> dict[str, pathlib.Path]:
        return image_files.split_folders(self.folder, self.split_folders)

    @functools.cached_property
    def _files(self) -> image_files.ImageFiles:
        return image_files.ImageFiles(self.folder, self._roots, self.evaluation_fraction)

    def _check_not_empty(self, split: str) -> None:
        paths = self._files.paths
        if not paths[split]:
            raise DataError(
                f"{self._roots.get(split, self.folder)} holds no file for the {split} split that ends in "
                f"{', '.join(image_files.SUFFIXES)} ({sum(map(len, paths.values()))} for the others); add "
                f"files, or change `ImageFolder.evaluation_fraction`, which is {self.evaluation_fraction}"
            )

    def _folder_labels(self, name: str, paths: list[str]) -> "FolderLabels | None":
        """Numbers the folders that the images lie in; None unless all images of all splits do."""
        names = {
            split: {_folder_name(path, self._roots.get(split, self.folder)) for path in listed}
            for split, listed in self._files.paths.items()
        }
        of_all = set().union(*names.values())
        # What is held out of one folder has the labels of that folder.
        trained = names["train"] if self._roots else of_all
        if None in of_all:
            return None
        ordered = [*sorted(trained, key=str), *sorted(of_all - trained, key=str)]
        numbers = {folder: number for number, folder in enumerate(ordered)}
        root = self._roots.get(name, self.folder)
        return FolderLabels([numbers[_folder_name(path, root)] for path in paths], ordered, len(trained))


class FolderLabels(NamedTuple):
    """The folders that the images of a split lie in.

    Attributes:
      numbers: of the folder of each image.
      names: of all folders, by their number.
      num_trained: the number of folders with training images, which come first.
    """

    numbers: list[int]
    names: list[Any]
    num_trained: int


class FileSplit(Split):
    """Images in files of their own.

    Args:
      paths: the files.
      shape: `(H, W, C)` of the images.
      reference_image: the path of the image whose size all must share; None resizes
        images of another size instead.
      folders: the folder of each file, or None.
      digest: of the names and contents of the files.
    """

    def __init__(
        self,
        paths: list[str],
        shape: tuple[int, ...],
        reference_image: str | None,
        folders: FolderLabels | None,
        digest: str = "",
    ):
        super().__init__(len(paths), shape, "uint8")
        self._paths = paths
        self._digest = digest
        self._reference_image = reference_image
        self._folders = folders
        self._numbers = None if folders is None else np.array(folders.numbers, np.int64)
        self.factor_names = () if folders is None else ("folder",)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return None if self._numbers is None else self._numbers[indices][:, None]

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        if self._folders is None or self._numbers is None:
            return ()
        _, names, num_trained = self._folders
        unknown = np.flatnonzero(self._numbers >= num_trained)
        if len(unknown):
            folders = sorted({names[self._folders.numbers[index]] for index in unknown})
            raise DataError(
                f"{self._paths[unknown[0]]} has a label that training lacks: {len(unknown)} images lie in "
                f"folders without training images ({image_files.listing(folders)}); expected only "
                f"{image_files.listing(names[:num_trained])}; rename or remove the others, or add training "
                "images"
            )
        return (num_trained,)

    def describe(self, index: int) -> str:
        return self._paths[index]

    def content_digest(self) -> str:
        return self._digest

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        contents = tf.numpy_function(self._contents, [indices], tf.string, stateful=False)
        fit = self._reference_image is None
        return decode_images(tf.ensure_shape(contents, (None,)), self.shape, fit, retry)

    def _contents(self, indices: np.ndarray) -> np.ndarray:
        """Returns the encoded images, `[n]` bytes."""
        return np.array([upright(read_regular(self._paths[index])) for index in indices], object)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Decodes images one by one, so that an error names the file: `[n, H, W, C]`, uint8."""
        return np.array([self._image(self._paths[i]) for i in indices], np.uint8).reshape(-1, *self.shape)

    def _image(self, path: str) -> np.ndarray:
        size = self.shape[:2] if self._reference_image is None else None
        image = decode_image(read_regular(path), path, self.shape[2], size)
        if image.shape != self.shape:
            raise DataError(
                f"{path} is {image.shape[0]}x{image.shape[1]} pixels, expected "
                f"{self.shape[0]}x{self.shape[1]} as in {self._reference_image}; set `ImageFolder.image_size`"
            )
        return image


def _checked_folders(folders: Any) -> dict[str, str]:
    folders = {} if folders is None else folders
    if not isinstance(folders, dict) or not all(isinstance(name, str) for name in folders.values()):
        raise ConfigurationError(
            "`ImageFolder.split_folders` must be a dict from splits to names of sub-folders, such as "
            f'{{"train": "a", "evaluation": "b"}}; got {folders!r}'
        )
    for split in folders:
        validation.one_of("a key of ImageFolder.split_folders", split, ("train", "validation", "evaluation"))
    return folders


def _folder_name(path: str, root: pathlib.Path) -> str | None:
    parts = pathlib.PurePath(os.path.relpath(path, root)).parts
    return parts[0] if len(parts) > 1 else None
