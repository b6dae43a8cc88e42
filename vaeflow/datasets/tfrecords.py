"""Images in TFRecord files of `tf.train.Example`, read by index."""

import functools
import glob
import itertools
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, Split, held_out_split, num_held_out
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.decoding import CHANNELS, decode_image, decode_images, upright
from vaeflow.datasets.record_files import RecordIndex
from vaeflow.errors import ConfigurationError, DataError

_FORMATS = ("encoded", "raw")


@registry.dataset
class TFRecords(Dataset):
    """Images in TFRecord files, one `tf.train.Example` each: `[H, W, C]`, uint8.

    The files must be local and uncompressed. The position of each record is found once from
    the records' headers. The checksums of the headers are verified, those of the payloads
    are not. Only the positions are held in memory.

    Args:
      train: a file pattern, e.g. `"data/train-*.tfrecord"`, or a list of them.
      evaluation: the same for evaluation. None holds out a part of `train`, the same for
        every seed of a run.
      image_key: the bytes feature with the image.
      image_format: `"encoded"` (PNG, JPEG, WebP) or `"raw"` (H·W·C bytes, row by row).
      shape: `(H, W, C)`. Encoded images of another size are scaled with antialiasing until
        they cover it, then cropped equally on both sides. None takes the shape of the first
        record, in RGB, and refuses images of another. Raw images need a shape.
      label_key: the name of an integer feature, which becomes the factor `label`; None for
        no factor.
      evaluation_fraction: the part that is held out if `evaluation` is None.
      cache: True caches decoded images in a temporary file, see `CachedSplit`.
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
        self.evaluation_fraction = validation.fraction("TFRecords.evaluation_fraction", evaluation_fraction)
        self.cache = validation.boolean("TFRecords.cache", cache)

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
                index = RecordIndex(_matching_files(self.evaluation))
            chosen = np.arange(len(index))
        split = RecordSplit(index, chosen, self)
        return CachedSplit(split) if self.cache and self.image_format == "encoded" else split

    @functools.cached_property
    def image_shape(self) -> tuple[int, ...]:
        """The shape `(H, W, C)` of all images: the setting, or that of the first record."""
        return self.shape or self.decode(self._train_index, 0, 3, None).shape

    @functools.cached_property
    def _train_index(self) -> RecordIndex:
        return RecordIndex(_matching_files(self.train))

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
        return np.frombuffer(data, np.uint8).reshape(shape)


class RecordSplit(Split):
    """Some records of an index, decoded on demand.

    Args:
      index: the positions of all records.
      chosen: the numbers of the records in the split, int64 `[N]`.
      source: the `TFRecords` with the keys, the format and the shape.
    """

    def __init__(self, index: RecordIndex, chosen: np.ndarray, source: TFRecords):
        super().__init__(len(chosen), source.image_shape, "uint8")
        self.factor_names = () if source.label_key is None else ("label",)
        self._index = index
        self._chosen = chosen
        self._source = source

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        if self._source.image_format == "raw":
            return tf.ensure_shape(retry(), (None, *self.shape))
        contents = tf.numpy_function(self._contents, [indices], tf.string, stateful=False)
        fit = self._source.shape is not None
        return decode_images(tf.ensure_shape(contents, (None,)), self.shape, fit, retry)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        key = self._source.label_key
        if key is None:
            return None
        labels = [read_value(self._index, record, key, "int64_list") for record in self._records(indices)]
        return np.array(labels, np.int64)[:, None]

    def _contents(self, indices: np.ndarray) -> np.ndarray:
        """Returns the encoded images, `[n]` bytes."""
        key = self._source.image_key
        records = self._records(indices)
        return np.array(
            [upright(read_value(self._index, each, key, "bytes_list")) for each in records], object
        )

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Decodes images one by one, so that an error names the record: `[n, H, W, C]`, uint8."""
        images = [self._image(record) for record in self._records(indices)]
        return np.array(images, np.uint8).reshape(-1, *self.shape)

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


def read_value(index: RecordIndex, record: int, key: str, kind: str) -> Any:
    """Reads the single value of a feature of a record's `tf.train.Example`.

    Args:
      index: the positions of all records.
      record: the number of the record.
      key: the feature's name.
      kind: `"bytes_list"` or `"int64_list"`.

    Raises:
      DataError: the record is not a `tf.train.Example`, or the feature does not have
        exactly one value.
    """
    payload = index.read(record)
    try:
        features = tf.train.Example.FromString(payload).features.feature
    # The parser's error belongs to protobuf, which is not a dependency of vaeflow.
    except Exception as error:
        raise DataError(f"{index.describe(record)} is not a tf.train.Example: {error}") from error
    values = getattr(features[key], kind).value if key in features else ()
    if len(values) != 1:
        raise DataError(
            f"{index.describe(record)}: the feature {key!r} has {len(values)} values in its {kind}, "
            f"expected one; the record has the features {', '.join(sorted(features)) or '(none)'}"
        )
    return values[0]


def _checked_patterns(setting: str, patterns: Any) -> list[str]:
    listed = [patterns] if isinstance(patterns, (str, os.PathLike)) else patterns
    if not isinstance(listed, (list, tuple)) or not listed or not all(os.fspath(each) for each in listed):
        raise ConfigurationError(f"`{setting}` must be a file pattern or a list of them, got {patterns!r}")
    return [str(validation.path(setting, pattern)) for pattern in listed]


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


def _matching_files(patterns: Iterable[str]) -> list[str]:
    matches = (glob.glob(pattern, recursive=True) for pattern in patterns)  # noqa: PTH207 Some are absolute.
    paths = sorted(set(itertools.chain.from_iterable(matches)))
    if not paths:
        raise DataError(f"no file matches {', '.join(map(repr, patterns))}; expected TFRecord files")
    return paths
