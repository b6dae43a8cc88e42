"""The labels of the images of `Arrays`: where they lie, and what they are in both splits."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow.datasets import array_files, labels
from vaeflow.datasets.remote import Source
from vaeflow.errors import ConfigurationError, DataError

_CHUNK_ROWS = 2**16


@dataclasses.dataclass(frozen=True)
class Place:
    """An array in a file: the file, the array's name in it, and the setting of this name."""

    file: Source
    key: str | None
    setting: str


class ArrayLabels:
    """Labels in arrays `[N]` or `[N, F]`, next to the images or in files of their own.

    Args:
      images: the file of the images of each split; without `"evaluation"` if a part is held out.
      files: split -> the file of its labels, or None for the file of the images.
      keys: split -> the name of the array of labels, or None.
      common_key: the name for a split without one of its own, or None.
      names: the names of the F factors, or None.

    Attributes:
      is_given: whether there are labels.

    Raises:
      ConfigurationError: the settings do not say where the labels of every split lie.
    """

    def __init__(
        self,
        images: Mapping[str, Source],
        files: Mapping[str, Source | None],
        keys: Mapping[str, str | None],
        common_key: str | None,
        names: Any,
    ):
        self.is_given = any((*files.values(), *keys.values(), common_key, names))
        self._names = _checked_names(names)
        self._places: dict[str, Place] = {}
        if not self.is_given:
            return
        if "evaluation" not in images and (files["evaluation"] or keys["evaluation"]):
            raise ConfigurationError(
                "`Arrays.evaluation_labels` and `Arrays.evaluation_labels_key` are set, but no array is "
                "for evaluation: a part of `Arrays.train` is held out, with its labels; leave them out, or "
                "set `Arrays.evaluation` or `Arrays.evaluation_key`"
            )
        for split, file in images.items():
            key = common_key if keys[split] is None else keys[split]
            self._places[split] = _place(split, file, files[split], key, "evaluation" not in images)
        self._check_splits_differ()

    def read(self, split: str, num_images: int, images_place: str) -> np.ndarray:
        """Reads the labels of the training images, or those of an evaluation array of its own.

        Args:
          split: `"train"` or `"evaluation"`.
          num_images: the number of images in its array.
          images_place: their file and array, for messages.

        Returns:
          int64 `[N, F]`.

        Raises:
          DataError: the array holds no labels, or not one row for each image, or in evaluation
            a label that no training image has.
        """
        place, found = self._train if split == "train" else _read(self._places[split])
        if len(found) != num_images:
            raise DataError(
                f"{place} holds the labels of {len(found)} images, {images_place} holds {num_images} images; "
                "expected one row of labels for each image, in the same order"
            )
        if split != "train":
            self._check_known(found, place)
        return found

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the F factors."""
        return labels.checked_names(self._names, self._train[1].shape[1], "`Arrays.label_names`")

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """The F numbers of values: the largest label of each factor in the training array plus 1."""
        return labels.sizes_of(self._train[1])

    @functools.cached_property
    def _train(self) -> tuple[str, np.ndarray]:
        return _read(self._places["train"])

    def _check_known(self, found: np.ndarray, place: str) -> None:
        train_place, known = self._train
        if found.shape[1] != known.shape[1]:
            raise DataError(
                f"{place} holds {found.shape[1]} labels for each image, {train_place} {known.shape[1]}; "
                "expected the same in both"
            )
        for factor, name in enumerate(self.names):
            unknown = np.flatnonzero(~np.isin(found[:, factor], known[:, factor]))
            if len(unknown):
                raise DataError(
                    f"{place}, record {unknown[0]}: the label {name!r} is {found[unknown[0], factor]}, which "
                    f"{train_place} lacks (in {len(unknown)} records); expected labels of training images; "
                    "remove these images, or train on such images too"
                )

    def _check_splits_differ(self) -> None:
        one, other = self._places["train"], self._places.get("evaluation")
        if other is not None and one.file.is_same(other.file) and one.key == other.key:
            raise ConfigurationError(
                f"the labels of both splits are the same array of {one.file}; set `Arrays.train_labels_key` "
                "and `Arrays.evaluation_labels_key` to two arrays of it, or `Arrays.train_labels` and "
                "`Arrays.evaluation_labels` to two files"
            )


def _place(split: str, images: Source, file: Source | None, key: str | None, is_held_out: bool) -> Place:
    """Says where the labels of one split lie."""
    if file is None and (key is None or images.suffix == ".npy"):
        missing = (
            f"no setting says where the labels for {split} are"
            if key is None
            else f"the array {key!r} of labels cannot be in {images}, which holds one array"
        )
        raise ConfigurationError(
            f"{missing}; set `Arrays.{split}_labels` to their file, or if they are in the .npz or HDF5 file "
            f"of the images, `Arrays.{split}_labels_key` to the name of their array"
        )
    setting = "Arrays.labels_key" if is_held_out else f"Arrays.{split}_labels_key"
    return Place(file or images, key, setting)


def _read(place: Place) -> tuple[str, np.ndarray]:
    """Reads an array of labels: its file and name, for messages, and int64 `[N, F]`."""
    with array_files.opened(place.file.path, place.key, place.setting) as stored:
        if len(stored.shape) not in (1, 2) or not stored.shape[0]:
            raise DataError(
                f"{stored.place} holds an array of shape {stored.shape}; expected labels [N] or [N, F]; set "
                f"`{place.setting}` to their array, or the setting of the file to their file"
            )
        array_files.check_memory(math.prod(stored.shape) * np.dtype(np.int64).itemsize, stored.place)
        chunks = [chunk for _, chunk in stored.chunks(_CHUNK_ROWS)]
        return stored.place, labels.checked(np.concatenate(chunks), stored.place)


def _checked_names(names: Any) -> list[str]:
    if names is None:
        return []
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"`Arrays.label_names` must be a list of names, got {names!r}")
    return list(names)
