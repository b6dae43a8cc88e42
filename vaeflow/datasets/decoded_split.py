"""Images that are decoded on demand from their bytes, wherever these come from."""

import abc
import functools
import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vaeflow.datasets.base import Split
from vaeflow.datasets.crop_decoding import CropDecoder, prepared
from vaeflow.datasets.decoding import decode_image, decode_images, decode_in_parallel, upright
from vaeflow.errors import DataError


class EncodedImages(abc.ABC):
    """Encoded images and their labels, read by index: what a source gives to the splits below.

    Attributes:
      factor_names: as for `Split`.
      factor_sizes: as for `Split`; a property where it is not known at once.
    """

    factor_names: tuple[str, ...] = ()
    factor_sizes: Sequence[int] = ()

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of images."""

    @abc.abstractmethod
    def contents(self, indices: np.ndarray) -> list[bytes]:
        """Returns the bytes of the images at `indices`, int64 `[n]`.

        Raises:
          DataError: an image cannot be read.
        """

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        """Returns the factors at `indices`, int64 `[n, F]`; None if they are unknown."""
        return

    @abc.abstractmethod
    def describe(self, index: int) -> str:
        """Names an image for an error."""

    @abc.abstractmethod
    def digest(self) -> str:
        """Returns a digest of the content in hexadecimal digits; empty if it costs too much to know."""


class IndexedSplit(Split):
    """A split whose labels, digest and names are those of an `EncodedImages`.

    Args:
      images: the `EncodedImages`.
      shape: as for `Split`.
      dtype: as for `Split`.
    """

    def __init__(self, images: EncodedImages, shape: tuple[int, ...], dtype: str = "uint8"):
        super().__init__(len(images), shape, dtype)
        self.factor_names = images.factor_names
        self._images = images

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return self._images.factors(indices)

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        return tuple(self._images.factor_sizes)

    def describe(self, index: int) -> str:
        return self._images.describe(index)

    def content_digest(self) -> str:
        return self._images.digest()


class DecodedSplit(IndexedSplit):
    """Images of one size, or fitted to one, decoded on demand.

    Args:
      images: the `EncodedImages`.
      shape: `(H, W, C)` of the results.
      size_advice: what to do about an image of another size, for the error; None scales it
        instead, see `decode_image`.
      dct_scaling: as for `decode_image`.
    """

    def __init__(
        self,
        images: EncodedImages,
        shape: tuple[int, ...],
        size_advice: str | None,
        dct_scaling: bool = False,
    ):
        super().__init__(images, shape)
        self._size_advice = size_advice
        self._dct_scaling = dct_scaling

    def content_digest(self) -> str:
        digest = super().content_digest()
        # Such pixels are others; the files are the same.
        return hashlib.sha256(f"{digest} dct_scaling".encode()).hexdigest() if self._dct_scaling else digest

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        contents = tf.numpy_function(self._contents, [indices], tf.string, stateful=False)
        fits = self._size_advice is None
        return decode_images(tf.ensure_shape(contents, (None,)), self.shape, fits, retry, self._dct_scaling)

    def _contents(self, indices: np.ndarray) -> np.ndarray:
        """Returns the encoded images, `[n]` bytes."""
        return np.array([upright(content) for content in self._images.contents(indices)], object)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Decodes images one by one, so that an error names the image: `[n, H, W, C]`, uint8."""
        pairs = zip(indices.tolist(), self._images.contents(indices), strict=True)
        return np.array([self._image(*pair) for pair in pairs], np.uint8).reshape(-1, *self.shape)

    def _image(self, index: int, content: bytes) -> np.ndarray:
        place = self.describe(index)
        size = self.shape[:2] if self._size_advice is None else None
        image = decode_image(content, place, self.shape[2], size, self._dct_scaling)
        if image.shape != self.shape:
            raise DataError(
                f"{place} is {image.shape[0]}x{image.shape[1]} pixels, expected "
                f"{self.shape[0]}x{self.shape[1]}{self._size_advice}"
            )
        return image


class MixedSplit(IndexedSplit):
    """Images of mixed sizes, of which a rectangle is read.

    An image is read, decoded and cropped on its own, so that no more images are in memory at a time than
    are decoded side by side.

    Args:
      images: the `EncodedImages`.
      decoder: cuts the rectangles.
    """

    def __init__(self, images: EncodedImages, decoder: CropDecoder):
        super().__init__(images, decoder.shape)
        self.crop = decoder.crop
        self._decoder = decoder

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        return self._decoded(indices)

    def crops(self, indices: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return self._decoded(indices, draws)

    def _decoded(self, indices: tf.Tensor, *draws: tf.Tensor) -> tf.Tensor:
        def decode(index, *draw):
            content = tf.numpy_function(self._prepared, [index], (tf.string, tf.int64), stateful=False)
            data, orientation = (tf.ensure_shape(each, ()) for each in content)
            return self._decoder.decode(data, orientation, *(draw or (None,)))

        def retry():
            return tf.numpy_function(self._rectangles, [indices, *draws], "uint8", stateful=False)

        return decode_in_parallel((indices, *draws), decode, self.shape, retry)

    def _prepared(self, index: np.int64) -> tuple[bytes, np.int64]:
        [content] = self._images.contents(np.array([index]))
        return prepared(content)

    def _rectangles(self, indices: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Decodes images one by one, so that an error names the image: `[n, h, w, C]`, uint8."""
        rows = [None] * len(indices) if draws is None else draws
        images = []
        for index, row in zip(indices.tolist(), rows, strict=True):
            [content] = self._images.contents(np.array([index]))
            images.append(self._decoder.decode_named(content, self.describe(index), row))
        return np.array(images, np.uint8).reshape(-1, *self.shape)
