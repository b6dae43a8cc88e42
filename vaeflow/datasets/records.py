"""Reads the records of any object with `__len__` and `__getitem__`: an image each, and its labels."""

import contextlib
import dataclasses
import hashlib
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vaeflow.datasets import decoding, labels
from vaeflow.errors import DataError, user_code

Key = str | int
StoredImage = bytes | np.ndarray
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Spread evenly over the records; all of them may be too many to read, or slow.
_NUM_DIGESTED = 256


@dataclasses.dataclass(frozen=True)
class RecordKeys:
    """Where the image and the labels are in a record.

    Attributes:
      image: a key or position; None if the record is the image.
      labels: keys or positions.
      names: of the factors, given by the user; empty takes the keys.
      channels: 1, 3 or 4, of images that Pillow or a decoder reads; None takes their own.
    """

    image: Key | None
    labels: tuple[Key, ...]
    names: tuple[str, ...]
    channels: int | None


class Records:
    """The records of an object of the user's.

    Args:
      source: the object. `source[i]` for ints i from 0 on is a mapping, a tuple, a list, or an image. If
        it has `__getitems__`, several records are read by it at once, as a list.
      keys: the `RecordKeys`.
      thread_safe: whether several threads may read records at a time; False reads one after the other.
      setting: the setting of the object, for messages.

    Raises:
      DataError: it is something else, or empty.
    """

    def __init__(self, source: Any, keys: RecordKeys, thread_safe: bool, setting: str):
        if not hasattr(source, "__getitem__") or not hasattr(source, "__len__"):
            raise DataError(
                f"`{setting}` must be an object with `__len__` and `__getitem__`, or a function without "
                f"arguments that returns one, got {user_code.described(source)}"
            )
        with user_code.running(source, "__len__", DataError):
            self._count = len(source)
        if not self._count:
            raise DataError(f"`{setting}` holds no records; expected at least one")
        self.source = source
        self.keys = keys
        self._lock = contextlib.nullcontext() if thread_safe else threading.Lock()
        self._setting = setting

    def __len__(self) -> int:
        return self._count

    def describe(self, record: int) -> str:
        """Names a record for an error."""
        return f"record {record} of `{self._setting}`"

    def images(self, records: Sequence[int]) -> list[StoredImage]:
        """Returns the image of each record: encoded bytes, or an array `[h, w]` or `[h, w, C]`.

        Raises:
          DataError: it is something else, or the object fails.
        """
        found = []
        for record, content in self._read(records):
            image = content
            if self.keys.image is not None:
                image = self._value(content, self.keys.image, record, "image_key")
            with _failing(self.describe(record), "the image"):
                found.append(self._stored(image, record))
        return found

    def labels(self, records: Sequence[int]) -> np.ndarray:
        """Returns the labels of records, int64 `[n, F]`.

        Raises:
          DataError: they are no labels, or the object fails.
        """
        rows = [np.concatenate(self._label_parts(record, content)) for record, content in self._read(records)]
        if len({row.shape for row in rows}) > 1:
            wrong = next(place for place, row in enumerate(rows) if row.shape != rows[0].shape)
            raise DataError(
                f"{self.describe(records[wrong])} has {len(rows[wrong])} labels, {self.describe(records[0])} "
                f"{len(rows[0])}; expected the same number in each"
            )
        return labels.checked(np.array(rows), self._setting, lambda row: self.describe(records[row]))

    def label_names(self) -> tuple[str, ...]:
        """Returns the names of the F factors: given, or the keys, or `label`, `label_0`, `label_1`, …."""
        if not self.keys.labels:
            return ()
        [(record, content)] = self._read([0])
        counts = [len(part) for part in self._label_parts(record, content)]
        own = [key for key in self.keys.labels if isinstance(key, str)]
        names = own if len(own) == sum(counts) == len(counts) else ()
        setting = "`RandomAccess.label_names`"
        return labels.checked_names(self.keys.names or names, sum(counts), setting)

    def digest(self, records: np.ndarray) -> str:
        """Returns a digest of records spread over those given, int64 `[n]`, and of their number."""
        chosen = records[np.unique(np.linspace(0, len(records) - 1, _NUM_DIGESTED).astype(np.int64))].tolist()
        digest = hashlib.sha256(f"{len(self)} {len(records)} {chosen}".encode())
        for image in self.images(chosen):
            if isinstance(image, bytes):
                digest.update(b"%d\0" % len(image) + image)
            else:
                digest.update(f"{image.shape} {image.dtype}\0".encode() + image.tobytes())
        if self.keys.labels:
            digest.update(self.labels(chosen).tobytes())
        return digest.hexdigest()

    def _read(self, records: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Yields pairs of a record's number and its content."""
        if not records:
            return
        batched = getattr(self.source, "__getitems__", None)
        with self._lock, user_code.running(self.source, "__getitem__", DataError):
            if batched is None:
                contents = [self.source[int(record)] for record in records]
            else:
                contents = batched([int(record) for record in records])
        if len(contents) != len(records):
            problem = f"must return a list of {len(records)} records, it returned {len(contents)}"
            raise user_code.wrong(self.source, "__getitems__", problem, DataError)
        yield from zip(records, contents, strict=True)

    def _value(self, content: Any, key: Key, record: int, setting: str) -> Any:
        """Returns the part of a record at a key or position."""
        holder: Any = content
        if isinstance(content, Mapping):
            known: Sequence[Any] = list(content)
        elif isinstance(content, (tuple, list)):
            known = range(len(content))
        else:
            raise DataError(
                f"{self.describe(record)} is {user_code.described(content)}; expected a mapping, a tuple or "
                f"a list, with `RandomAccess.{setting}` = {key!r} in it"
            )
        if key not in known:
            raise DataError(
                f"{self.describe(record)} holds {', '.join(map(repr, known)) or 'nothing'}; set "
                f"`RandomAccess.{setting}` to one of them, got {key!r}"
            )
        return holder[key]

    def _label_parts(self, record: int, content: Any) -> list[np.ndarray]:
        parts = [np.asarray(self._value(content, key, record, "label_key")) for key in self.keys.labels]
        for key, part in zip(self.keys.labels, parts, strict=True):
            if part.ndim > 1 or part.dtype.kind not in "biuf":
                raise DataError(
                    f"{self.describe(record)}: the label {key!r} is {user_code.described(part[()])}; "
                    "expected an integer from 0 on, or a list of them"
                )
        return [np.atleast_1d(part) for part in parts]

    def _stored(self, image: Any, record: int) -> StoredImage:
        if isinstance(image, Mapping) and "bytes" in image:  # A Hugging Face image that is not decoded.
            image = image["bytes"]
        if isinstance(image, (bytes, bytearray, memoryview)):
            return bytes(image)
        if isinstance(image, Image.Image):
            return _of_pillow(image, self.keys.channels)
        if isinstance(image, Mapping):
            raise DataError(
                f"{self.describe(record)} holds {', '.join(map(repr, image))}, and no image alone; set "
                "`RandomAccess.image_key` to the key of the image"
            )
        array = np.asarray(image)
        if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
            raise DataError(
                f"{self.describe(record)}: the image is {user_code.described(image)}; expected the bytes "
                "of an image, an array [h, w] or [h, w, C], or an image of Pillow; set "
                "`RandomAccess.image_key`"
            )
        return array


def own_channels(content: bytes) -> int:
    """Returns 1 for the bytes of a grey image, and 3 for others; an alpha channel is dropped."""
    with contextlib.suppress(Exception), decoding.silenced_pillow(), Image.open(io.BytesIO(content)) as image:
        return 1 if _is_grey(image) else 3
    return 3  # What Pillow cannot read the decoder will describe.


def as_png(image: StoredImage, place: str) -> bytes:
    """Returns the bytes of an image that is to be scaled or cropped, without loss.

    Raises:
      DataError: it is an array of something else than uint8 with 1, 3 or 4 channels.
    """
    if isinstance(image, bytes):
        return image
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or channels not in decoding.CHANNELS:
        raise DataError(
            f"{place}: the image is {user_code.described(image)}; expected uint8 with "
            f"{', '.join(map(str, decoding.CHANNELS))} channels in the end, to scale or crop it; convert it, "
            "or give images of one size and leave `RandomAccess.image_size` out"
        )
    written = io.BytesIO()
    array = image[..., 0] if channels == 1 and image.ndim == 3 else image
    Image.fromarray(np.ascontiguousarray(array)).save(written, "PNG", compress_level=0)
    return written.getvalue()


def _of_pillow(image: Image.Image, channels: int | None) -> np.ndarray:
    """Turns an image of Pillow as its tag says, and returns its pixels."""
    turned = ImageOps.exif_transpose(image)
    if turned.mode[0] in "IF":  # 16 or 32 bits, or floats, whose range `pixel_range` says.
        return np.asarray(turned)
    if channels is None:
        channels = 1 if _is_grey(turned) else 3
    array = np.asarray(turned.convert(_MODES[channels]))
    return array[..., None] if channels == 1 else array


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La") or image.mode[0] in "IF"


@contextlib.contextmanager
def _failing(place: str, what: str) -> Iterator[None]:
    """Turns what a conversion raises into a `DataError`; libraries of images raise nearly every class."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{place}: {what} cannot be read: {reason}; replace or remove it") from error
