"""Images from TFRecord files of `tf.train.Example`, read by index."""

import functools
import glob
import os

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, Split, held_out_split, num_held_out
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.decoding import CHANNELS, decode_image, decode_images
from vaeflow.datasets.record_files import RecordIndex
from vaeflow.errors import ConfigurationError, DataError

_FORMATS = ("encoded", "raw")


@registry.dataset
class TFRecords(Dataset):
    """Images in TFRecord files, one `tf.train.Example` each: `[H, W, C]`, uint8.

    The files must be local and uncompressed. Where each record lies is found once
    from the records' headers, whose checksums are verified; the payloads' are not.
    Only these places are held in memory.

    Args:
      train: a file pattern, e.g. `"data/train-*.tfrecord"`, or a list of them.
      evaluation: the same for evaluation. None holds out a part of `train`, the
        same for every seed of a run.
      image_key: the bytes feature with the image.
      image_format: `"encoded"` (PNG, JPEG, WebP) or `"raw"` (H·W·C bytes, row by row).
      shape: `(H, W, C)`. Encoded images of another size are scaled, antialiased,
        and cut to it evenly. None takes the first record's, RGB, and refuses others.
        Raw images need it.
      label_key: an integer feature to offer as the factor `label`, or None.
      evaluation_fraction: the part held out where `evaluation` is None.
      cache: whether decoded images are kept in a temporary file, see `CachedSplit`.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: a pattern is empty or `shape` does not fit the format.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        train,
        evaluation=None,
        image_key="image",
        image_format="encoded",
        shape=None,
        label_key=None,
        evaluation_fraction=0.1,
        cache=True,
        **kwargs,
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
        self.cache = validation.one_of("TFRecords.cache", cache, (True, False))

    def load(self, name):
        """Finds a split's records; images are read when asked for; see `Dataset.load`."""
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
    def image_shape(self):
        """`(H, W, C)` of the images in both splits: as set, or as the first record has it."""
        return self.shape or self.decode(self._train_index, 0, 3, None).shape

    @functools.cached_property
    def _train_index(self):
        return RecordIndex(_matching_files(self.train))

    def decode(self, index, record, channels, size):
        """Reads one record's image, uint8 `[H, W, C]`; see `decode_image`."""
        data = read_value(index, record, self.image_key, "bytes_list")
        if self.image_format == "encoded":
            return decode_image(data, index.describe(record), channels, size)
        expected = int(np.prod(self.shape))
        if len(data) != expected:
            raise DataError(
                f"{index.describe(record)}: the image has {len(data)} bytes, expected {expected} for the "
                f"shape {self.shape}; set `TFRecords.shape`, or `TFRecords.image_format` to 'encoded'"
            )
        return np.frombuffer(data, np.uint8).reshape(self.shape)


class RecordSplit(Split):
    """The chosen records of an index, decoded when asked for.

    Args:
      index: a `RecordIndex`.
      chosen: which of its records, int64 `[N]`.
      source: the `TFRecords` whose keys, format and shape apply.
    """

    def __init__(self, index, chosen, source):
        super().__init__(len(chosen), source.image_shape, "uint8")
        self.factor_names = () if source.label_key is None else ("label",)
        self._index = index
        self._chosen = chosen
        self._source = source

    def examples(self, indices):
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        if self._source.image_format == "raw":
            return tf.ensure_shape(retry(), (None, *self.shape))
        contents = tf.numpy_function(self._contents, [indices], tf.string, stateful=False)
        fit = self._source.shape is not None
        return decode_images(tf.ensure_shape(contents, (None,)), tf.identity, self.shape, fit, retry)

    def factors(self, indices):
        if not self.factor_names:
            return None
        key = self._source.label_key
        labels = [read_value(self._index, self._chosen[i], key, "int64_list") for i in indices]
        return np.array(labels, np.int64)[:, None]

    def _contents(self, indices):
        """The encoded images, `[n]` bytes."""
        key = self._source.image_key
        return np.array(
            [read_value(self._index, self._chosen[i], key, "bytes_list") for i in indices], object
        )

    def _read(self, indices):
        """Decodes images one by one, so that an error names the record: `[n, H, W, C]`, uint8."""
        return np.array([self._image(self._chosen[i]) for i in indices], np.uint8).reshape(-1, *self.shape)

    def _image(self, record):
        size = None if self._source.shape is None else self.shape[:2]
        image = self._source.decode(self._index, record, self.shape[2], size)
        if image.shape != self.shape:
            raise DataError(
                f"{self._index.describe(record)}: the image is {image.shape}, expected {self.shape} as in "
                "the first record; set `TFRecords.shape`"
            )
        return image


def read_value(index, record, key, kind):
    """Reads the one value of a feature of a record's `tf.train.Example`.

    Args:
      index: a `RecordIndex`.
      record: which record.
      key: the feature's name.
      kind: `"bytes_list"` or `"int64_list"`.

    Raises:
      DataError: it has no such feature, several values, or is no `Example`.
    """
    payload = index.read(record)
    try:
        features = tf.train.Example.FromString(payload).features.feature
    # The parser's error type belongs to protobuf, which is not ours to import.
    except Exception as error:
        raise DataError(f"{index.describe(record)} is not a tf.train.Example: {error}") from error
    values = getattr(features[key], kind).value if key in features else ()
    if len(values) != 1:
        raise DataError(
            f"{index.describe(record)}: the feature {key!r} has {len(values)} values in its {kind}, "
            f"expected one; the features are {', '.join(sorted(features)) or '(none)'}"
        )
    return values[0]


def _checked_patterns(setting, patterns):
    listed = [patterns] if isinstance(patterns, (str, os.PathLike)) else patterns
    if not isinstance(listed, (list, tuple)) or not listed or not all(map(os.fspath, listed)):
        raise ConfigurationError(f"`{setting}` must be a file pattern or a list of them, got {patterns!r}")
    return [os.path.expanduser(pattern) for pattern in listed]


def _checked_shape(shape, image_format):
    if shape is None:
        if image_format == "raw":
            raise ConfigurationError("`TFRecords.shape` must be (H, W, C) for raw images, got None")
        return None
    shape = validation.positive_integers("TFRecords.shape", shape)
    if len(shape) != 3 or (image_format == "encoded" and shape[2] not in CHANNELS):
        raise ConfigurationError(
            f"`TFRecords.shape` must be (H, W, C), for encoded images with C in {CHANNELS}; got {shape!r}"
        )
    return shape


def _matching_files(patterns):
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern, recursive=True)})
    if not paths:
        raise DataError(f"no file matches {', '.join(map(repr, patterns))}; expected TFRecord files")
    return paths
