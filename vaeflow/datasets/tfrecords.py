"""Images in TFRecord files of `tf.train.Example`, read by index."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets import labels, pixels, remote
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.decoding import CHANNELS, decode_image, decode_images, upright
from vaeflow.datasets.held_out import held_out_split, num_held_out
from vaeflow.datasets.record_files import RecordIndex, matching_files, read_value
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.runs import watchdog

_FORMATS = ("encoded", "raw")
_MOST_CHANNELS = 4
_NUM_LOOKED_AT = 64


@registry.dataset
class TFRecords(Dataset):
    """Images in TFRecord files, one `tf.train.Example` each: `[H, W, C]`, uint8.

    The files must be uncompressed. The position of each record is found once from
    the records' headers. The checksums of the headers are verified, those of the payloads
    are not. Only the positions are held in memory.

    Args:
      train: a file pattern, e.g. `"data/train-*.tfrecord"`, or a list of them. A part of it
        that exists as it is written, such as `lr=[1e-3]`, is no pattern. Or a URL with a pattern in its last
        parts; see `datasets.remote`.
      evaluation: the same for evaluation. None holds out a part of `train`, the same for
        every seed of a run.
      image_key: the bytes feature with the image.
      image_format: `"encoded"` (PNG, JPEG, WebP, GIF, BMP, TIFF) or `"raw"` (H·W·C bytes, row by row).
      shape: `(H, W, C)`. Encoded images of another size are scaled with antialiasing until
        they cover it, then cropped equally on both sides. None takes the shape of the first
        record, in RGB, and refuses images of another. Raw images need a shape.
      label_key: the name of an integer feature, which becomes the factor `label`; None for
        no factor.
      evaluation_fraction: the part that is held out if `evaluation` is None.
      cache: True caches decoded images in a temporary file, see `CachedSplit`.
      layout: `"NCHW"` if the channels of raw images come first, `"NHWC"` if they come last.
      pixel_range: the numbers of black and white of raw images, as for `Arrays`.
      num_classes: the number of values of the label, which are 0 … num_classes − 1. None takes the
        largest label of `train` plus 1; a model that uses labels then reads all records once at its
        start.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: a pattern is empty, or `shape` does not fit the format.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        train: str | Sequence[str],
        evaluation: str | Sequence[str] | None = None,
        image_key: str = "image",
        image_format: str = "encoded",
        shape: Sequence[int] | None = None,
        label_key: str | None = None,
        evaluation_fraction: float = 0.1,
        cache: bool = True,
        layout: str | None = None,
        pixel_range: Sequence[float] | None = None,
        num_classes: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.train = _checked_patterns("TFRecords.train", train)
        self.evaluation = (
            None if evaluation is None else _checked_patterns("TFRecords.evaluation", evaluation)
        )
        self.image_key = image_key
        self.image_format = validation.one_of("TFRecords.image_format", image_format, _FORMATS)
        self.shape = _checked_shape(shape, image_format)
        self.label_key = label_key
        self._given_classes = (
            None if num_classes is None else validation.positive_integer("TFRecords.num_classes", num_classes)
        )
        self.evaluation_fraction = validation.fraction("TFRecords.evaluation_fraction", evaluation_fraction)
        self.cache = validation.boolean("TFRecords.cache", cache)
        self.description = pixels.Description("TFRecords", layout, pixel_range)
        if self.image_format == "encoded" and (layout, pixel_range) != (None, None):
            raise ConfigurationError("`TFRecords.layout` and `TFRecords.pixel_range` are of raw images only")
        if self.shape is not None and image_format == "raw" and layout is None:
            _check_raw_shape(self.shape)

    def load(self, name: str) -> Split:
        """Finds the records of a split, whose images are read on demand; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        index = self._train_index
        if self.evaluation is None:
            setting = "TFRecords.evaluation_fraction"
            num_evaluation = num_held_out(len(index), self.evaluation_fraction)
            chosen = held_out_split(name, len(index), num_evaluation, setting)
        else:
            if name == "evaluation":
                index = RecordIndex(self._evaluation_files())
            chosen = np.arange(len(index))
        if self.image_format == "raw":
            self._check_pixels(index, chosen)
        split = RecordSplit(index, chosen, self)
        return CachedSplit(split) if self.cache and self.image_format == "encoded" else split

    @functools.cached_property
    def image_shape(self) -> tuple[int, ...]:
        """The shape `(H, W, C)` of all images: the setting, or that of the first record."""
        return self.shape or self.decode(self._train_index, 0, 3, None).shape

    @functools.cached_property
    def num_classes(self) -> int:
        """The number of values of the label: the setting, or the largest of the training files + 1."""
        if self._given_classes is not None:
            return self._given_classes
        index, key = self._train_index, self.label_key or ""
        values = np.empty(len(index), np.int64)
        for record in range(len(index)):
            watchdog.progress(f"reading the label of {index.describe(record)}")
            values[record] = read_value(index, record, key, "int64_list")
        return int(labels.checked(values, key, index.describe).max()) + 1

    @functools.cached_property
    def _train_files(self) -> list[str]:
        return matching_files(self.train)

    @functools.cached_property
    def _train_index(self) -> RecordIndex:
        return RecordIndex(self._train_files)

    def decode(
        self, index: RecordIndex, record: int, channels: int, size: tuple[int, ...] | None
    ) -> np.ndarray:
        """Reads the image of one record, uint8 `[H, W, C]`; see `decode_image`."""
        data = read_value(index, record, self.image_key, "bytes_list")
        if self.image_format == "encoded":
            return decode_image(data, index.describe(record), channels, size)
        shape = self.image_shape
        expected = int(np.prod(shape))
        if len(data) != expected:
            raise DataError(
                f"{index.describe(record)}: the image has {len(data)} bytes, expected {expected} for the "
                f"shape {shape}; set `TFRecords.shape`, or `TFRecords.image_format` to 'encoded'"
            )
        first = self.description.layout == "NCHW"
        image = np.frombuffer(data, np.uint8).reshape((shape[2], *shape[:2]) if first else shape)
        return self.description.images(image[None], "NCHW" if first else "NHWC")[0]

    def _check_pixels(self, index: RecordIndex, chosen: np.ndarray) -> None:
        """Looks at some raw images, spread over the split, for another range than is expected."""
        seen = pixels.PixelRange(self.description, index.describe(int(chosen[0])))
        for record in chosen[:: -(-len(chosen) // _NUM_LOOKED_AT)].tolist():
            data = read_value(index, record, self.image_key, "bytes_list")
            seen.see(np.frombuffer(data, np.uint8)[None], record)
        seen.check()

    def _evaluation_files(self) -> list[str]:
        files = matching_files(self.evaluation or ())
        of_training = {_identity(path) for path in self._train_files}
        for path in files:
            if _identity(path) in of_training:
                raise ConfigurationError(
                    f"{path} belongs to `TFRecords.train` and to `TFRecords.evaluation`: the evaluation "
                    "would be of training images; change one of the patterns"
                )
        return files


def _identity(path: str) -> tuple[int, int]:
    """Returns what two names of one file have in common."""
    state = pathlib.Path(path).stat()
    return state.st_dev, state.st_ino


class RecordSplit(Split):
    """Some records of an index, decoded on demand.

    Args:
      index: the positions of all records.
      chosen: the numbers of the records in the split, int64 `[N]`.
      source: the `TFRecords` with the keys, the format and the shape.
    """

    def __init__(self, index: RecordIndex, chosen: np.ndarray, source: TFRecords):
        super().__init__(len(chosen), source.image_shape, source.description.stored_dtype(np.dtype(np.uint8)))
        self.factor_names = () if source.label_key is None else ("label",)
        self._index = index
        self._chosen = chosen
        self._source = source

    def content_digest(self) -> str:
        return self._index.content_digest()

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def retry():
            return tf.numpy_function(self._read, [indices], self.dtype, stateful=False)

        if self._source.image_format == "raw":
            return tf.ensure_shape(retry(), (None, *self.shape))
        contents = tf.numpy_function(self._contents, [indices], tf.string, stateful=False)
        fit = self._source.shape is not None
        return decode_images(tf.ensure_shape(contents, (None,)), self.shape, fit, retry)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        key = self._source.label_key
        if key is None:
            return None
        values = [read_value(self._index, record, key, "int64_list") for record in self._records(indices)]
        return np.array(values, np.int64)[:, None]

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        return (self._source.num_classes,) if self.factor_names else ()

    def describe(self, index: int) -> str:
        return self._index.describe(int(self._chosen[index]))

    def _contents(self, indices: np.ndarray) -> np.ndarray:
        """Returns the encoded images, `[n]` bytes."""
        key = self._source.image_key
        records = self._records(indices)
        return np.array(
            [upright(read_value(self._index, each, key, "bytes_list")) for each in records], object
        )

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Decodes images one by one, so that an error names the record: `[n, H, W, C]`."""
        images = [self._image(record) for record in self._records(indices)]
        return np.array(images, self.dtype).reshape(-1, *self.shape)

    def _records(self, indices: np.ndarray) -> list[int]:
        """Returns the numbers of the records at `indices`."""
        return self._chosen[indices].tolist()

    def _image(self, record: int) -> np.ndarray:
        size = None if self._source.shape is None else self.shape[:2]
        image = self._source.decode(self._index, record, self.shape[2], size)
        if image.shape != self.shape:
            raise DataError(
                f"{self._index.describe(record)}: the image is {image.shape}, expected {self.shape} as in "
                "the first record; set `TFRecords.shape`"
            )
        return image


def _checked_patterns(setting: str, patterns: Any) -> list[str]:
    listed = [patterns] if isinstance(patterns, (str, os.PathLike)) else patterns
    if not isinstance(listed, (list, tuple)) or not listed or not all(os.fspath(each) for each in listed):
        raise ConfigurationError(f"`{setting}` must be a file pattern or a list of them, got {patterns!r}")
    return [remote.checked_pattern(setting, pattern) for pattern in listed]


def _checked_shape(shape: Sequence[int] | None, image_format: str) -> tuple[int, ...] | None:
    if shape is None:
        if image_format == "raw":
            raise ConfigurationError("`TFRecords.shape` must be (H, W, C) for raw images, got None")
        return None
    shape = validation.positive_integers("TFRecords.shape", shape)
    if len(shape) != 3 or (image_format == "encoded" and shape[2] not in CHANNELS):
        raise ConfigurationError(
            f"`TFRecords.shape` must be (H, W, C), with C in {CHANNELS} for encoded images; got {shape!r}"
        )
    return shape


def _check_raw_shape(shape: tuple[int, ...]) -> None:
    if shape[0] <= _MOST_CHANNELS < min(shape[1:]):
        height, width = shape[1:]
        raise ConfigurationError(
            f"`TFRecords.shape` must be (H, W, C), got {shape}, which looks like (C, H, W); set it to "
            f'{(height, width, shape[0])}, and `TFRecords.layout` to "NCHW" if the channels come first in '
            'the records; or set the layout to "NHWC" if the shape is meant'
        )
