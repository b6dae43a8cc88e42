"""Images of any object with `__len__` and `__getitem__`."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets import array_files, labels, pixels
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.cache import CachedSplit
from vaeflow.datasets.crop_decoding import CropDecoder
from vaeflow.datasets.decoded_split import DecodedSplit, MixedSplit
from vaeflow.datasets.decoding import CHANNELS, decode_image
from vaeflow.datasets.held_out import held_out_split, num_held_out
from vaeflow.datasets.in_memory import with_factors_of
from vaeflow.datasets.pipeline import readable_errors
from vaeflow.datasets.record_splits import RecordArrays, RecordImages
from vaeflow.datasets.records import Key, RecordKeys, Records, own_channels
from vaeflow.datasets.sizing import checked_dct_scaling, checked_sizing
from vaeflow.errors import ConfigurationError, DataError, user_code
from vaeflow.runs import watchdog

_CHUNK_BYTES = 64 * 2**20
_CHUNK_RECORDS = 256
_NUM_LOOKED_AT = 64


class _Form(NamedTuple):
    """What the first training image is, and so all others.

    Attributes:
      shape: of an array as it is, or `(H, W, C)` of a decoded image, of which only C counts if it is scaled
        or cropped.
      dtype: of an array; None of encoded images.
      layout: of arrays, one of `pixels.LAYOUTS`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    layout: str


@registry.dataset
class RandomAccess(Dataset):
    """Images of any object with `__len__` and `__getitem__`: `[H, W, C]`, uint8, or float32 in [0, 1].

    Such are the data sets of Hugging Face, the sources of grain and array_record, those that PyTorch calls
    map-style, lists, and your own. A record is a mapping, a tuple, a list, or an image alone; an image
    is an array `[h, w]` or `[h, w, C]`, an image of Pillow, or the bytes of a PNG, JPEG, WebP,
    GIF, BMP or TIFF file. The first training image says which, and whether it is grey. The same number must
    give the same record each time, and in every process.

    A gin file names a source of your own, registered in a plug-in with `@registry.source`:
    `RandomAccess.train = @my_images()`.

    Args:
      train: the object, or a function without arguments that returns it, called at the first reading.
      evaluation: the same for evaluation. None holds out a part of `train`, the same for every seed of a run.
      image_key: the key, or the position in a tuple or list, of the image in a record; None if a record is an
        image.
      label_key: the key or position of a label, or a list of them. A label is an integer from 0 on, or a
        list of them, and becomes a factor. None has no factors.
      label_names: the names of the F factors; None takes the keys, or `label`, or `label_0`, `label_1`, ….
      num_classes: the number of values of the label, or a list of F; None takes the largest label of `train`
        plus 1, for which a model that uses labels reads all records once at its start.
      image_size: as for `ImageFolder`: `(H, W)` scales and crops to this size; one number scales the shorter
        side, and `augmentations` begin with a `RandomCrop`; None keeps the images' own sizes, which must all
        be the same unless there is such a crop. Images that are scaled or cropped so are uint8.
      channels: 1 (grey), 3 (RGB, alpha dropped) or 4 (RGBA, not for JPEG) of encoded images and those of
        Pillow; None takes 1 or 3, as the first training image has.
      layout: of arrays, as for `Arrays`, where N stands for the records.
      pixel_range: of arrays, as for `Arrays`.
      evaluation_fraction: the part of `train` that is held out if `evaluation` is None.
      thread_safe: True reads records in several threads at a time. The objects named above allow it;
        one that seeks in an open file does not.
      in_memory: True reads all images at the start, and holds them.
      cache: True caches images in a temporary file, see `CachedSplit`; crops of images of mixed sizes
        are read each time.
      dct_scaling: True decodes a JPEG at a half, a quarter or an eighth of its size where at least twice
        `image_size`, a pair, remains: sooner, with slightly other pixels.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: settings that do not fit together.
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        train: Any,
        evaluation: Any = None,
        image_key: Key | None = None,
        label_key: Key | Sequence[Key] | None = None,
        label_names: Sequence[str] | None = None,
        num_classes: int | Sequence[int] | None = None,
        image_size: int | Sequence[int] | None = None,
        channels: int | None = None,
        layout: str | None = None,
        pixel_range: Sequence[float] | None = None,
        evaluation_fraction: float = 0.1,
        thread_safe: bool = False,
        in_memory: bool = False,
        cache: bool = True,
        dct_scaling: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if evaluation is not None and evaluation is train:
            raise ConfigurationError(
                "`RandomAccess.train` and `RandomAccess.evaluation` are the same object: the evaluation "
                "would be of the training images; leave `RandomAccess.evaluation` out to hold out a part"
            )
        self._objects = {"train": train} | ({} if evaluation is None else {"evaluation": evaluation})
        self._keys = RecordKeys(
            None if image_key is None else _checked_key("RandomAccess.image_key", image_key),
            _checked_keys(label_key),
            _checked_label_names(label_names),
            validation.one_of("RandomAccess.channels", channels, (None, *CHANNELS)),
        )
        if self._keys.names and not self._keys.labels:
            raise ConfigurationError(
                "`RandomAccess.label_names` needs `RandomAccess.label_key`, which says where the labels are"
            )
        self._given_classes = (
            None if num_classes is None else validation.size_or_sizes("RandomAccess.num_classes", num_classes)
        )
        self.sizing = checked_sizing("RandomAccess", image_size, self.augmentations, self.binarization)
        self.dct_scaling = checked_dct_scaling("RandomAccess", dct_scaling, self.sizing)
        self.description = pixels.Description("RandomAccess", layout, pixel_range)
        self.evaluation_fraction = validation.fraction(
            "RandomAccess.evaluation_fraction", evaluation_fraction
        )
        self.thread_safe = validation.boolean("RandomAccess.thread_safe", thread_safe)
        self.in_memory = validation.boolean("RandomAccess.in_memory", in_memory)
        self.cache = validation.boolean("RandomAccess.cache", cache)
        if self.in_memory:
            if self.sizing.shorter_side is not None:
                raise ConfigurationError(
                    "`RandomAccess.in_memory` holds images of one size; set `RandomAccess.image_size` to a "
                    "pair (H, W), or `RandomAccess.in_memory` to False"
                )
            self.sizing = self.sizing._replace(crop=None)  # The device crops images of one size.
        self._opened: dict[str, Records] = {}

    def load(self, name: str) -> Split:
        """Opens the records of a split, which are read on demand unless `in_memory`; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        records = self._records(name if name in self._objects else "train")
        chosen = np.arange(len(records))
        if "evaluation" not in self._objects:
            num_evaluation = num_held_out(len(records), self.evaluation_fraction)
            setting = "RandomAccess.evaluation_fraction"
            chosen = held_out_split(name, len(records), num_evaluation, setting)
        split = self._split(RecordImages(records, chosen, lambda: self.num_classes, self._form.layout))
        if self.in_memory:
            return _held(split)
        return CachedSplit(split) if self.cache else split

    @functools.cached_property
    def num_classes(self) -> tuple[int, ...]:
        """The number of values of each label: the setting, or the largest of `train` plus 1."""
        records = self._records("train")
        if self._given_classes is not None:
            num_labels = len(records.label_names())
            return labels.checked_sizes(self._given_classes, num_labels, "RandomAccess.num_classes")
        found = []
        for first in range(0, len(records), _CHUNK_RECORDS):
            watchdog.progress(f"reading the labels from {records.describe(first)} on")
            found.append(records.labels(range(first, min(first + _CHUNK_RECORDS, len(records)))))
        return labels.sizes_of(np.concatenate(found))

    def _records(self, name: str) -> Records:
        """Opens an object at its first use."""
        if name not in self._opened:
            source, setting = self._objects[name], f"RandomAccess.{name}"
            if callable(source) and not hasattr(source, "__getitem__"):
                with user_code.running(source, "", DataError):
                    source = source()
            self._opened[name] = Records(source, self._keys, self.thread_safe, setting)
        return self._opened[name]

    @functools.cached_property
    def _form(self) -> _Form:
        """What the first training image is."""
        records = self._records("train")
        [image] = records.images([0])
        if isinstance(image, bytes):
            channels = self._keys.channels or own_channels(image)
            if self.sizing.size is not None or self.sizing.crop is not None:
                return _Form((*(self.sizing.size or ()), channels), None, "NHWC")
            return _Form(decode_image(image, records.describe(0), channels).shape, None, "NHWC")
        place = "`RandomAccess.train`"
        layout = self.description.layout_of((len(records), *image.shape), place)
        self.description.check_dtype(image.dtype, place)
        return _Form(image.shape, image.dtype, layout)

    def _split(self, images: RecordImages) -> Split:
        shape, dtype, layout = self._form
        size, shorter_side, mixed = self.sizing
        channels = shape[-1]
        if dtype is not None:
            channels = pixels.image_shape((1, *shape), layout)[2]
            self._check_channels(channels)
            scales = size is not None or shorter_side is not None
            can_scale = self.description.stored_dtype(dtype) == "uint8" and channels in CHANNELS
            if scales and not can_scale:
                raise DataError(
                    f"the images of `RandomAccess.train` are {dtype} of {channels} channels; expected uint8 "
                    f"from 0 to 255 with one of {CHANNELS} channels, to scale them; leave "
                    "`RandomAccess.image_size` out"
                )
            if not scales and (mixed is None or not can_scale):
                split = RecordArrays(images, (shape, dtype), self.description, layout)
                self._look_at(split)
                return split
        if mixed is not None:
            return MixedSplit(images, CropDecoder(channels, shorter_side, mixed))
        advice = " as the first of `RandomAccess.train`; set `RandomAccess.image_size`"
        own = (*(size or shape[:2]), channels)
        return DecodedSplit(images, own, None if size else advice, self.dct_scaling)

    def _check_channels(self, channels: int) -> None:
        if self._keys.channels not in (None, channels):
            raise ConfigurationError(
                f"`RandomAccess.channels` is {self._keys.channels}, and the arrays of `RandomAccess.train` "
                f"have {channels}; leave it out, or convert the arrays"
            )

    def _look_at(self, split: RecordArrays) -> None:
        """Looks at some images, spread over a split, for another range than is expected."""
        indices = np.unique(np.linspace(0, split.num_examples - 1, _NUM_LOOKED_AT).astype(np.int64))
        seen = pixels.PixelRange(self.description, "`RandomAccess.train`")
        for index in indices.tolist():
            seen.see(split.arrays(np.array([index])), index)
        seen.check()


def _held(split: Split) -> Split:
    """Reads all images of a split into memory."""
    itemsize = np.dtype(split.dtype).itemsize
    num_bytes = split.num_examples * math.prod(split.shape) * itemsize
    advice = "set `RandomAccess.in_memory` to False"
    array_files.check_memory(num_bytes, "the images of `RandomAccess`", advice)
    images = np.empty((split.num_examples, *split.shape), split.dtype)
    rows = max(1, _CHUNK_BYTES // (math.prod(split.shape) * itemsize))
    for first in range(0, len(images), rows):
        watchdog.progress(f"reading the images from {split.describe(first)} on")
        last = min(first + rows, len(images))
        with readable_errors():
            images[first:last] = split.examples(tf.range(first, last, dtype=tf.int64)).numpy()
    return with_factors_of(split, images, np.arange(len(images)))


def _checked_key(setting: str, key: Any) -> Key:
    if not isinstance(key, (str, int)) or isinstance(key, bool):
        raise ConfigurationError(f"`{setting}` must be a key or a position in a record, got {key!r}")
    return key


def _checked_keys(keys: Any) -> tuple[Key, ...]:
    listed = () if keys is None else keys if isinstance(keys, (list, tuple)) else (keys,)
    return tuple(_checked_key("RandomAccess.label_key", key) for key in listed)


def _checked_label_names(names: Any) -> tuple[str, ...]:
    listed = () if names is None else names
    if not isinstance(listed, (list, tuple)) or not all(isinstance(name, str) for name in listed):
        raise ConfigurationError(f"`RandomAccess.label_names` must be a list of names, got {names!r}")
    return tuple(listed)
