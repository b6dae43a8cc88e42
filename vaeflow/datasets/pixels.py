"""Says what an array of images is before a model is trained on it: its layout and the range of its pixels.

Every array that a source holds passes here. What is certainly not what it would be taken for is
refused, and the message names the setting that mends it; what merely looks strange is logged.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging

from vaeflow import validation
from vaeflow.errors import ConfigurationError, DataError

LAYOUTS = ("NHW", "NHWC", "NCHW", "NF")
NATIVE_RANGES = {"uint8": (0.0, 255.0), "float32": (0.0, 1.0)}

_MOST_CHANNELS = 4
# White in the encodings that occur; the first that no pixel exceeds is proposed.
_USUAL_WHITES = (1, 15, 16, 31, 63, 100, 127, 255, 1023, 4095, 65535)
# Parts of white: images below the first look black, and below the second they are oddly dark.
_BLACK, _DARK = 0.25, 0.5


@dataclasses.dataclass(frozen=True)
class Description:
    """What the user says of an array of images.

    Args:
      owner: the class whose settings these are, for messages: `Arrays` for `Arrays.layout`.
      layout: `"NHW"`, `"NHWC"` or `"NCHW"`, or `"NF"` for a table; None recognizes images by the shape.
      pixel_range: the numbers of black and white; None expects 0 and 255 of uint8, and 0
        and 1 of floats, and refuses what looks like another range.

    Raises:
      ConfigurationError: `pixel_range` is not an increasing pair of numbers.
      ValueError: `layout` is something else.
    """

    owner: str
    layout: str | None = None
    pixel_range: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.layout is not None:
            validation.one_of(f"{self.owner}.layout", self.layout, LAYOUTS)
        object.__setattr__(self, "pixel_range", self._checked_range())

    def _checked_range(self) -> tuple[float, float] | None:
        given: Any = self.pixel_range
        if given is None:
            return None
        is_pair = isinstance(given, (list, tuple)) and len(given) == 2
        numbers = is_pair and all(isinstance(each, (int, float)) and math.isfinite(each) for each in given)
        if not numbers or not given[0] < given[1]:
            raise ConfigurationError(
                f"`{self.owner}.pixel_range` must be the numbers of black and white, such as (0, 16) or "
                f"(-1, 1), got {given!r}"
            )
        return float(given[0]), float(given[1])

    def layout_of(self, shape: Sequence[int], place: object) -> str:
        """Returns the layout of an array, one of `LAYOUTS`.

        Args:
          shape: of the array.
          place: the file or object, for messages.

        Raises:
          DataError: the array has no such layout, or certainly not the one that its shape suggests.
        """
        shape = tuple(shape)
        ranks = (len(self.layout),) if self.layout == "NF" else (3, 4)
        if len(shape) not in ranks or any(size < 1 for size in shape):
            expected = "[N, F]" if self.layout == "NF" else "[N, H, W] or [N, H, W, C]"
            advice = f'; set `{self.owner}.layout` to "NF" for a table' if len(shape) == 2 else ""
            raise DataError(
                f"{place} holds an array of shape {shape}; expected {expected} with sizes of at least "
                f"1{advice}"
            )
        if self.layout is not None:
            if len(shape) != len(self.layout):
                raise DataError(
                    f"{place} holds an array of shape {shape}, which is not `{self.owner}.layout` = "
                    f"{self.layout!r}; change the setting"
                )
            return self.layout
        if len(shape) == 3:
            if shape[2] <= _MOST_CHANNELS < shape[1]:
                logging.warning(
                    "%s holds an array of shape %s, taken for %d grey images of %dx%d pixels; if it is one "
                    "image in colour, add an axis in front",
                    *(place, shape, *shape),
                )
            return "NHW"
        if shape[3] > _MOST_CHANNELS:
            self._check_channels(shape, place)
        return "NHWC"

    def _check_channels(self, shape: tuple[int, ...], place: object) -> None:
        if shape[1] <= _MOST_CHANNELS < shape[2]:
            raise DataError(
                f"{place} holds an array of shape {shape}, which looks like [N, C, H, W]; set "
                f'`{self.owner}.layout` to "NCHW" if the channels come first, or to "NHWC" if each image '
                f"has {shape[3]} channels"
            )
        if shape[2] <= _MOST_CHANNELS < shape[1]:
            raise DataError(
                f"{place} holds an array of shape {shape}, which looks like [H, W, C, N]; transpose it to "
                f'[N, H, W, C], or set `{self.owner}.layout` to "NHWC" if each image has {shape[3]} channels'
            )
        logging.warning(
            "%s holds an array of shape %s, taken for images of %d channels", place, shape, shape[3]
        )

    def check_dtype(self, dtype: np.dtype[Any], place: object) -> None:
        """Checks that an array holds numbers that can be pixels.

        Raises:
          DataError: it holds something else, or integers of unknown range.
        """
        with_range = dtype.kind in "biu" and self.pixel_range is not None
        if dtype != np.uint8 and dtype.kind != "f" and not with_range:
            raise DataError(
                f"{place} holds {dtype}; expected uint8 in 0 … 255 or floats in [0, 1]; convert the array"
                + (
                    f", or set `{self.owner}.pixel_range` to the numbers of black and white"
                    if dtype.kind in "biu"
                    else ""
                )
            )

    def stored_dtype(self, dtype: np.dtype[Any]) -> str:
        """Returns the dtype in which images of `dtype` are held: `"uint8"` if that loses nothing."""
        keeps = self.pixel_range in (None, NATIVE_RANGES["uint8"])
        return "uint8" if dtype == np.uint8 and keeps else "float32"

    def images(self, chunk: np.ndarray, layout: str) -> np.ndarray:
        """Returns images `[n, H, W, C]` as they are held: uint8, or float32 in [0, 1]."""
        if layout == "NCHW":
            chunk = np.moveaxis(chunk, 1, 3)
        elif layout == "NHW":
            chunk = chunk[..., None]
        elif layout == "NF":
            chunk = chunk[:, None, None, :]
        if self.stored_dtype(chunk.dtype) == "uint8":
            return chunk
        low, high = self.pixel_range or NATIVE_RANGES["float32"]
        if (low, high) == NATIVE_RANGES["float32"]:
            return chunk.astype(np.float32)
        return ((chunk.astype(np.float64) - low) / (high - low)).astype(np.float32)


def image_shape(shape: Sequence[int], layout: str) -> tuple[int, ...]:
    """Returns `(H, W, C)` of the images in an array of that shape and layout."""
    _, *sizes = shape
    return {
        "NHW": lambda: (*sizes, 1),
        "NHWC": lambda: tuple(sizes),
        "NF": lambda: (1, 1, *sizes),
        "NCHW": lambda: (*sizes[1:], sizes[0]),
    }[layout]()


class PixelRange:
    """The range of the pixels of an array, seen chunk by chunk.

    Args:
      description: what the user says of the array.
      place: the file or object, for messages.
    """

    def __init__(self, description: Description, place: object):
        self._description = description
        self._place = place
        self._dtype = np.dtype(np.uint8)
        self._low, self._high = math.inf, -math.inf
        self._bad: tuple[int, Any] | None = None

    def see(self, chunk: np.ndarray, first_record: int) -> None:
        """Notes the pixels of the records from `first_record` on, `[n, …]`, as they are stored."""
        if not chunk.size:
            return
        self._dtype = chunk.dtype
        self._low = min(self._low, chunk.min())
        self._high = max(self._high, chunk.max())
        low, high = self._expected()
        # NaN compares false, so this form counts it as bad.
        if self._bad is None and not (chunk.min() >= low and chunk.max() <= high):
            position = int(np.argmax(~((chunk >= low) & (chunk <= high))))
            value = chunk.reshape(-1)[position]
            self._bad = first_record + position // (chunk.size // len(chunk)), value

    def check(self, refuses_black: bool = True) -> None:
        """Refuses what cannot be meant, and logs what is strange; call it after the last chunk.

        Args:
          refuses_black: False for arrays that may be all black, such as those of a test.

        Raises:
          DataError: a pixel is outside the range, or the range is another than it would be taken for.
        """
        if self._bad is not None:
            record, value = self._bad
            low, high = self._expected()
            raise DataError(
                f"{self._place}, record {record}: a pixel is {value}; expected a finite number in "
                f"[{low:g}, {high:g}]; {self._advice()}"
            )
        if self._description.pixel_range is not None or self._low == math.inf:
            return
        white = self._expected()[1]
        share = self._high / white
        seen = f"{self._dtype} pixels of at most {self._high:g}"
        if share < _BLACK and (refuses_black or share > 0):
            raise DataError(
                f"{self._place} holds {seen}, which look black where white is {white:g}; set "
                f"{self._setting()} = {self._usual_range()} if that is their range, or {(0, int(white))} if "
                "the images are this dark"
            )
        if share < _DARK or self._low == self._high:
            logging.warning(
                "%s holds %s and at least %g, where white is %g; if white is another number, set %s",
                *(self._place, seen, self._low, white, self._setting()),
            )

    def _expected(self) -> Sequence[float]:
        native = NATIVE_RANGES["uint8" if self._dtype == np.uint8 else "float32"]
        return self._description.pixel_range or native

    def _setting(self) -> str:
        return f"`{self._description.owner}.pixel_range`"

    def _usual_range(self) -> tuple[float, float]:
        """The smallest usual range that holds all pixels, for the proposal."""
        if self._low < 0:
            low = next((each for each in (-0.5, -1) if each <= self._low and self._high <= -each), None)
            return (low, -low) if low else (float(self._low), float(self._high))
        white = next((each for each in _USUAL_WHITES if self._high <= each), float(self._high))
        return 0, white

    def _advice(self) -> str:
        if not (math.isfinite(self._low) and math.isfinite(self._high)):
            return "replace what is no number"
        if self._description.pixel_range is not None:
            return f"the pixels are in [{self._low:g}, {self._high:g}]; change {self._setting()}"
        return f"set {self._setting()} = {self._usual_range()} if that is the range, or clip the pixels"
