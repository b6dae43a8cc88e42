"""Images in TFRecord files of `tf.train.Example`, read by index."""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from vaeflow import registry, validation
from vaeflow.datasets import labels, pixels, remote
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.crop_decoding import CropDecoder
from vaeflow.datasets.decoded_split import DecodedSplit, MixedSplit
from vaeflow.datasets.decoding import CHANNELS, decode_image
from vaeflow.datasets.example_records import ExampleImages, RawSplit
from vaeflow.datasets.held_out import held_out_split, num_held_out
from vaeflow.datasets.record_files import RecordIndex, matching_files, read_value
from vaeflow.datasets.sizing import Sizing, checked_sizing
from vaeflow.errors import ConfigurationError
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
        record, in RGB, and refuses images of another. `(None, None, C)` are images of mixed sizes,
        from which the `RandomCrop` that `augmentations` begin with cuts. Raw images need a shape.
      image_size: the length to which the shorter side of images of mixed sizes is scaled before; None keeps
        their own sizes.
      label_key: the name of an integer feature, which becomes the factor `label`; None for
        no factor.
      evaluation_fraction: the part that is held out if `evaluation` is None.
      cache: True caches decoded images in a temporary file, see `CachedSplit`; random crops of
        images of mixed sizes are decoded each time.
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
        shape: Sequence[int | None] | None = None,
        image_size: int | None = None,
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
        mixed_channels = _channels_of_mixed(shape, image_format, image_size)
        self.shape = None if mixed_channels else _checked_shape(shape, image_format)
        self._decoder = None
        if mixed_channels:
            sizing = checked_sizing("TFRecords", image_size, self.augmentations, self.binarization)
            self._decoder = _crop_decoder(mixed_channels, sizing)
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
        images = ExampleImages(index, chosen, self.image_key, self.label_key, lambda: self.num_classes)
        if self.image_format == "raw":
            self._check_pixels(index, chosen)
            return RawSplit(images, self.shape or (), self.description)
        if self._decoder is not None:
            split = MixedSplit(images, self._decoder)
        else:
            advice = None if self.shape else " as in the first record; set `TFRecords.shape`"
            split = DecodedSplit(images, self.shape or self._first_shape, advice)
        return CachedSplit(split) if self.cache else split

    @functools.cached_property
    def _first_shape(self) -> tuple[int, ...]:
        """The shape `(H, W, C)` of the first image."""
        index = self._train_index
        data = read_value(index, 0, self.image_key, "bytes_list")
        return decode_image(data, index.describe(0), 3, None).shape

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


def _checked_patterns(setting: str, patterns: Any) -> list[str]:
    listed = [patterns] if isinstance(patterns, (str, os.PathLike)) else patterns
    if not isinstance(listed, (list, tuple)) or not listed or not all(os.fspath(each) for each in listed):
        raise ConfigurationError(f"`{setting}` must be a file pattern or a list of them, got {patterns!r}")
    return [remote.checked_pattern(setting, pattern) for pattern in listed]


def _channels_of_mixed(shape: Any, image_format: str, image_size: Any) -> int | None:
    """Returns the channels of images of mixed sizes, `(None, None, C)`; None for images of one size."""
    is_mixed = isinstance(shape, (list, tuple)) and len(shape) == 3 and tuple(shape[:2]) == (None, None)
    if not is_mixed:
        if image_size is not None:
            raise ConfigurationError(
                "`TFRecords.image_size` scales images of mixed sizes; set `TFRecords.shape` to "
                "(None, None, C) too, or to (H, W, C) alone for images that are all scaled to one size"
            )
        return None
    if image_format == "raw":
        raise ConfigurationError(f"`TFRecords.shape` must be (H, W, C) for raw images, got {tuple(shape)}")
    return validation.one_of("the last number of `TFRecords.shape`", shape[2], CHANNELS)


def _crop_decoder(channels: int, sizing: Sizing) -> CropDecoder:
    if sizing.crop is None:
        raise ConfigurationError(
            f"`TFRecords.shape` = (None, None, {channels}) means images of mixed sizes; let "
            "`TFRecords.augmentations` begin with @RandomCrop(), and `TFRecords.image_size` be a number or "
            "None; or set the shape to (H, W, C), to which all images are scaled"
        )
    return CropDecoder(channels, sizing.shorter_side, sizing.crop)


def _checked_shape(shape: Any, image_format: str) -> tuple[int, ...] | None:
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
