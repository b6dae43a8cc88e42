"""Images in files of their own, labelled by the folders that they lie in."""

import functools
from typing import Any, NamedTuple

import numpy as np

from vaeflow.datasets import image_files
from vaeflow.datasets.decoded_split import EncodedImages
from vaeflow.datasets.regular_files import read_regular
from vaeflow.errors import DataError


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


class LabelledFiles(EncodedImages):
    """Files of one image each.

    Args:
      paths: the files.
      folders: the folder of each file, or None.
      digest: of the names and contents of the files.
    """

    def __init__(self, paths: list[str], folders: FolderLabels | None, digest: str = ""):
        self._paths = paths
        self._digest = digest
        self._folders = folders
        self._numbers = None if folders is None else np.array(folders.numbers, np.int64)
        self.factor_names = () if folders is None else ("folder",)

    def __len__(self) -> int:
        return len(self._paths)

    def contents(self, indices: np.ndarray) -> list[bytes]:
        return [read_regular(self._paths[index]) for index in indices]

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

    def digest(self) -> str:
        return self._digest
