"""Images, and their labels, from arrays in .npy, .npz or HDF5 files."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.datasets import array_files, pixels, tables
from vaeflow.datasets.array_files import StoredArray
from vaeflow.datasets.array_labels import ArrayLabels
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.held_out import held_out_split, num_held_out
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.datasets.mapped import MappedSplit
from vaeflow.datasets.remote import Source
from vaeflow.errors import ConfigurationError, DataError

_CHUNK_BYTES = 64 * 2**20
_MAPPED_SUFFIX = ".npy"
# Of this machine; an array that takes more is not held, so that the model has room.
_LARGEST_SHARE_OF_MEMORY = 0.5


@registry.dataset
class Arrays(Dataset):
    """Images from arrays `[N, H, W]` or `[N, H, W, C]` in files, held in memory or read when they are used.

    Pixels are uint8 in 0 … 255, or floats in [0, 1] (held as float32), unless `pixel_range`
    gives another range. Python objects are never unpickled, and links from an HDF5 file to
    another are not followed.

    Args:
      train: a `.npy`, `.npz`, `.h5` or `.hdf5` file, or its URL, like the other files here.
      evaluation: such a file with images of the same shape and dtype; it may be the same
        file with another `evaluation_key`. None holds out a part of `train`, the same for
        every seed of a run, unless `evaluation_key` names an array in `train`.
      key: the name of the array inside a `.npz` or HDF5 file, e.g. `"images"` or
        `"group/images"`. None needs a file with one array only.
      train_key: the same for the training images; None takes `key`.
      evaluation_key: the same for the images of the evaluation; None takes `key`.
      layout: `"NHW"`, `"NHWC"` or `"NCHW"`, where C stands for the channels; `"NF"` for a table, of which
        each row becomes an example `[1, 1, F]`; None expects images with the channels at the end, and refuses
        a shape that looks otherwise.
      pixel_range: the numbers of black and white, e.g. `(0, 16)` or `(-1, 1)`; the pixels are
        scaled to [0, 1]. None expects `(0, 255)` of uint8 and `(0, 1)` of floats, and refuses
        what looks like another range.
      scale_columns: True scales each column of a table, so that its smallest and largest number in the
        training rows become 0 and 1, and clips what lies outside. False expects numbers as for pixels.
      evaluation_fraction: the part of `train` that is held out.
      train_labels: a file as for `train` with the labels of its images, in the same order: an
        array `[N]` or `[N, F]` of integers from 0 on, of bools (False is 0, True is 1), or of
        floats that are whole numbers. None takes the file `train` if a key is given, and has
        no labels without.
      evaluation_labels: the same for the images of the evaluation.
      labels_key: the name of the array of labels inside a `.npz` or HDF5 file.
      train_labels_key: the same for the training images; None takes `labels_key`.
      evaluation_labels_key: the same for the images of the evaluation; None takes `labels_key`.
      label_names: the names of the F factors; None takes `label`, or `label_0`, `label_1`, ….
      in_memory: True holds the images in memory. False, for a `.npy` file, reads and checks them once at the
        start, and then reads those of each batch from the file, which must not change. `"auto"` does that
        with `.npy` files that would take more than half of this machine's memory; arrays in `.npz` and HDF5
        files are always held.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: a file does not exist or has another suffix, `in_memory` is False for a file other
        than `.npy`, both splits would be the same array, only one of them has labels, or `pixel_range` is not
        an increasing pair.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        train: str,
        evaluation: str | None = None,
        key: str | None = None,
        train_key: str | None = None,
        evaluation_key: str | None = None,
        layout: str | None = None,
        pixel_range: Sequence[float] | None = None,
        evaluation_fraction: float = 0.1,
        train_labels: str | None = None,
        evaluation_labels: str | None = None,
        labels_key: str | None = None,
        train_labels_key: str | None = None,
        evaluation_labels_key: str | None = None,
        label_names: Sequence[str] | None = None,
        in_memory: bool | str = "auto",
        scale_columns: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.train = _checked_path("Arrays.train", train)
        has_own_split = evaluation is not None or evaluation_key is not None
        self.evaluation = (
            _checked_path("Arrays.evaluation", train if evaluation is None else evaluation)
            if has_own_split
            else None
        )
        self.keys = {
            "train": key if train_key is None else train_key,
            "evaluation": key if evaluation_key is None else evaluation_key,
        }
        self.description = pixels.Description("Arrays", layout, pixel_range)
        self.evaluation_fraction = validation.fraction("Arrays.evaluation_fraction", evaluation_fraction)
        self._check_splits_differ()
        self.in_memory = (
            in_memory if in_memory == "auto" else validation.boolean("Arrays.in_memory", in_memory)
        )
        self._check_can_be_mapped()
        self.scale_columns = validation.boolean("Arrays.scale_columns", scale_columns)
        if self.scale_columns and (layout != tables.LAYOUT or pixel_range is not None or in_memory is False):
            raise ConfigurationError(
                "`Arrays.scale_columns` is for tables in memory, whose ranges it finds; set `Arrays.layout` "
                'to "NF", and leave `Arrays.pixel_range` and `Arrays.in_memory` out'
            )
        images = {"train": self.train} | ({} if self.evaluation is None else {"evaluation": self.evaluation})
        self.labels = ArrayLabels(
            images,
            {
                "train": _checked_file("Arrays.train_labels", train_labels),
                "evaluation": _checked_file("Arrays.evaluation_labels", evaluation_labels),
            },
            {"train": train_labels_key, "evaluation": evaluation_labels_key},
            labels_key,
            label_names,
        )

    def load(self, name: str) -> Split:
        """Reads a split in chunks and checks its pixels; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        own_file = name == "evaluation" and self.evaluation is not None
        with self._opened("evaluation" if own_file else "train") as source:
            layout = self._checked_layout(source)
            if own_file:
                self._check_same_images(source, layout)
            is_held = self._is_held(source) or self.scale_columns
            factors = None
            if self.labels.is_given:
                factors = self.labels.read(
                    "evaluation" if own_file else "train", source.shape[0], source.place
                )
            indices = np.arange(source.shape[0])
            if self.evaluation is None:
                num_evaluation = num_held_out(len(indices), self.evaluation_fraction)
                indices = held_out_split(name, len(indices), num_evaluation, "Arrays.evaluation_fraction")
            labelled = None if factors is None else (factors[indices], self.labels.names, self.labels.sizes)
            if not is_held:
                return self._mapped(source, layout, indices, labelled)
            if self.scale_columns:
                return self._split_of(self._scaled_table(source, indices, own_file), labelled)
            images = np.empty((len(indices), *pixels.image_shape(source.shape, layout)), self._dtype(source))
            for place, chunk in self._checked_chunks(source, layout, indices):
                images[place] = chunk
        return self._split_of(images, labelled)

    def _split_of(self, images: np.ndarray, labelled: Any) -> InMemorySplit:
        as_it_is: dict[str, Any] = {"layout": "NHWC", "pixel_range": pixels.NATIVE_RANGES[images.dtype.name]}
        if labelled is None:
            return InMemorySplit(images, **as_it_is)
        found, names, sizes = labelled
        return InMemorySplit(images, found, names, factor_sizes=sizes, **as_it_is)

    def _scaled_table(self, source: StoredArray, indices: np.ndarray, own_file: bool) -> np.ndarray:
        """Reads the rows at `indices`, and scales them by the ranges of the training rows."""
        rows = tables.read_rows(source)
        if own_file:
            with self._opened("train") as train:
                training = tables.read_rows(train)
        elif self.evaluation is not None:
            training = rows
        else:
            num_evaluation = num_held_out(len(rows), self.evaluation_fraction)
            setting = "Arrays.evaluation_fraction"
            training = rows[held_out_split("train", len(rows), num_evaluation, setting)]
        return tables.scaled(rows[indices], training, source.place)

    def _mapped(self, source: StoredArray, layout: str, indices: np.ndarray, labelled: Any) -> MappedSplit:
        """Reads the images once, to check them and for their digest, and returns those on the disk."""
        digest = hashlib.sha256()
        for _, chunk in self._checked_chunks(source, layout, indices):
            digest.update(np.ascontiguousarray(chunk).data)
        with array_files.readable(source.place):
            array = np.load(source.path, mmap_mode="r", allow_pickle=False)
        return MappedSplit(array, indices, self.description, layout, labelled, digest.hexdigest())

    def _opened(self, split: str) -> Any:
        file = self.evaluation if split == "evaluation" and self.evaluation is not None else self.train
        setting = "Arrays.key" if self.evaluation is None else f"Arrays.{split}_key"
        return array_files.opened(file.path, self.keys[split], setting)

    def _checked_layout(self, source: StoredArray) -> str:
        layout = self.description.layout_of(source.shape, source.place)
        if not self.scale_columns:
            self.description.check_dtype(source.dtype, source.place)
        return layout

    def _check_splits_differ(self) -> None:
        if self.evaluation is None or not self.evaluation.is_same(self.train):
            return
        if self.keys["train"] == self.keys["evaluation"]:
            raise ConfigurationError(
                f"`Arrays.train` and `Arrays.evaluation` are the same array of {self.train}: the evaluation "
                "would be of the training images; set `Arrays.train_key` and `Arrays.evaluation_key` to "
                "two arrays of it, or leave `Arrays.evaluation` out to hold out a part"
            )

    def _check_same_images(self, source: StoredArray, layout: str) -> None:
        with self._opened("train") as train:
            expected = pixels.image_shape(train.shape, self._checked_layout(train))
            found = pixels.image_shape(source.shape, layout)
            stored = self.description.stored_dtype
            if (found, stored(source.dtype)) != (expected, stored(train.dtype)):
                raise DataError(
                    f"{source.place} holds {source.dtype} images {found}, {train.place} holds "
                    f"{train.dtype} images {expected}; expected the same in both files"
                )

    def _dtype(self, source: StoredArray) -> str:
        return self.description.stored_dtype(source.dtype)

    def _check_can_be_mapped(self) -> None:
        for file in (self.train, self.evaluation):
            if self.in_memory is False and file is not None and file.suffix != _MAPPED_SUFFIX:
                raise ConfigurationError(
                    f"`Arrays.in_memory` must not be False for {file}: arrays in .npz and HDF5 files are "
                    "held in memory; save the array with numpy.save as a .npy file, or leave the setting out"
                )

    def _is_held(self, source: StoredArray) -> bool:
        """Decides whether the images are held in memory, and checks that they fit there."""
        num_bytes = math.prod(source.shape) * np.dtype(self._dtype(source)).itemsize
        can_be_mapped = source.path.suffix.lower() == _MAPPED_SUFFIX
        if self.in_memory is False or (
            self.in_memory == "auto"
            and can_be_mapped
            and num_bytes > _LARGEST_SHARE_OF_MEMORY * array_files.memory_bytes()
        ):
            return False
        advice = "set `Arrays.in_memory` to 'auto' or False" if can_be_mapped else array_files.ON_DEMAND
        array_files.check_memory(num_bytes, source.place, advice)
        return True

    def _checked_chunks(
        self, source: StoredArray, layout: str, indices: np.ndarray
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Reads the images at increasing `indices` in chunks, and checks the pixels of all images.

        Yields:
          Pairs: which of the indices, and their images `[n, H, W, C]`, uint8 or float32.
        """
        seen = pixels.PixelRange(self.description, source.place)
        rows = max(1, _CHUNK_BYTES // (source.dtype.itemsize * math.prod(source.shape[1:])))
        for start, chunk in source.chunks(rows):
            seen.see(chunk, start)
            first, last = np.searchsorted(indices, (start, start + len(chunk)))
            yield slice(first, last), self.description.images(chunk[indices[first:last] - start], layout)
        seen.check()


def _checked_file(setting: str, value: str | None) -> Source | None:
    return None if value is None else _checked_path(setting, value)


def _checked_path(setting: str, value: str) -> Source:
    source = Source(setting, value, is_file=True)
    if source.suffix not in array_files.SUFFIXES:
        raise ConfigurationError(
            f"`{setting}` must be a file that ends in {', '.join(array_files.SUFFIXES)}; got {str(value)!r}"
        )
    if source.is_missing():
        raise ConfigurationError(f"`{setting}` must be an existing file, got {str(value)!r}")
    return source
