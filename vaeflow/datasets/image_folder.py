"""Image files in a folder of the user."""

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow import registry, validation
from vaeflow.datasets import image_files
from vaeflow.datasets.base import SPLITS, VALIDATION, Dataset, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.crop_decoding import CropDecoder
from vaeflow.datasets.decoded_split import DecodedSplit, MixedSplit
from vaeflow.datasets.decoding import CHANNELS, decode_image
from vaeflow.datasets.labelled_files import FolderLabels, LabelledFiles
from vaeflow.datasets.regular_files import read_regular
from vaeflow.datasets.remote import Source
from vaeflow.datasets.sizing import checked_dct_scaling, checked_sizing
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
      folder: the folder, or its URL; see `datasets.remote`.
      image_size: `(H, W)`. Images are scaled with antialiasing until they cover it, then
        cropped equally on both sides. One number scales them until their shorter side has this many
        pixels; None keeps their own sizes. With either, `augmentations` must begin with
        a `RandomCrop` unless, with None, all images have the same size.
      channels: 1 (gray), 3 (RGB, alpha dropped) or 4 (RGBA, not for JPEG).
      evaluation_fraction: the part that is held out if no sub-folders are the splits.
      split_folders: the sub-folders of the splits, where they are not recognized, e.g.
        `{"train": "photos", "evaluation": "held_out"}`; also `"validation"`.
      damaged: `"refuse"` ends the run at its start if files are damaged; `"skip"` leaves them
        out, and names them.
      cache: True caches decoded images in a temporary file, see `CachedSplit`; random crops of
        images of mixed sizes are decoded each time.
      dct_scaling: True decodes a JPEG at a half, a quarter or an eighth of its size where at least twice
        `image_size`, a pair, remains: sooner, with slightly other pixels.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: `folder` does not exist, `image_size` is neither a pair nor a number with a
        crop of at most this size, or several sub-folders could be one split.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        folder: str,
        image_size: int | Sequence[int] | None = (64, 64),
        channels: int = 3,
        evaluation_fraction: float = 0.1,
        split_folders: Mapping[str, str] | None = None,
        damaged: str = "refuse",
        cache: bool = True,
        dct_scaling: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._source = Source("ImageFolder.folder", folder)
        if self._source.is_missing():
            raise ConfigurationError(f"`ImageFolder.folder` must be an existing folder, got {str(folder)!r}")
        self.sizing = checked_sizing("ImageFolder", image_size, self.augmentations, self.binarization)
        self.dct_scaling = checked_dct_scaling("ImageFolder", dct_scaling, self.sizing)
        self.channels = validation.one_of("ImageFolder.channels", channels, CHANNELS)
        self.evaluation_fraction = validation.fraction("ImageFolder.evaluation_fraction", evaluation_fraction)
        self.split_folders = _checked_folders(split_folders)
        self.skips_damaged = validation.one_of("ImageFolder.damaged", damaged, ("refuse", "skip")) == "skip"
        self.cache = validation.boolean("ImageFolder.cache", cache)

    @property
    def folder(self) -> pathlib.Path:
        """The folder on this machine; see `Source.path`."""
        return self._source.path

    @property
    def has_own_validation(self) -> bool:
        return VALIDATION in self._roots

    def load(self, name: str) -> Split:
        """Lists the files of a split, whose images are read on demand; see `Dataset.load`."""
        validation.one_of("split", name, (*SPLITS, *self._files.paths))
        size, shorter_side, mixed = self.sizing
        for split in ("train", name) if size is None else (name,):
            self._check_not_empty(split)
        least_size = mixed.size if mixed and shorter_side is None else None
        paths, digest = image_files.intact(self._files.paths[name], self.skips_damaged, least_size)
        if not paths:
            raise DataError(f"all files for the {name} split in {self.folder} are damaged; replace them")
        images = LabelledFiles(paths, self._folder_labels(name, paths), digest)
        if mixed:
            split = MixedSplit(images, CropDecoder(self.channels, shorter_side, mixed))
        else:
            advice = None
            if size is None:
                reference = self._files.paths["train"][0]
                size = decode_image(read_regular(reference), reference, self.channels).shape[:2]
                advice = f" as in {reference}; set `ImageFolder.image_size`"
            split = DecodedSplit(images, (*size, self.channels), advice, self.dct_scaling)
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

    def _folder_labels(self, name: str, paths: list[str]) -> FolderLabels | None:
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
