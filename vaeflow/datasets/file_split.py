"""Images in files of their own."""

import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vaeflow.datasets import image_files
from vaeflow.datasets.base import Split
from vaeflow.datasets.crop_decoding import CropDecoder, prepared
from vaeflow.datasets.decoding import decode_image, decode_images, decode_in_parallel, upright
from vaeflow.datasets.regular_files import read_regular
from vaeflow.errors import DataError


class FolderLabels(NamedTuple):
    """The folders that the images of a split lie in.

    Attributes:
      numbers: of the folder of each image.
      names: of all folders, by their number.
      num_trained: the number of folders with training images, which come first.
    """

    numbers: list[int]
    names: list[Any]
    num_trained: int


class LabelledFiles(Split):
    """Files of one image each, labelled by the folders that they lie in.

    Args:
      paths: the files.
      shape: `(H, W, C)` of the images.
      folders: the folder of each file, or None.
      digest: of the names and contents of the files.
    """

    def __init__(
        self, paths: list[str], shape: tuple[int, ...], folders: FolderLabels | None, digest: str = ""
    ):
        super().__init__(len(paths), shape, "uint8")
        self._paths = paths
        self._digest = digest
        self._folders = folders
        self._numbers = None if folders is None else np.array(folders.numbers, np.int64)
        self.factor_names = () if folders is None else ("folder",)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        return None if self._numbers is None else self._numbers[indices][:, None]

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        if self._folders is None or self._numbers is None:
            return ()
        _, names, num_trained = self._folders
        unknown = np.flatnonzero(self._numbers >= num_trained)
        if len(unknown):
            folders = sorted({names[self._folders.numbers[index]] for index in unknown})
            raise DataError(
                f"{self._paths[unknown[0]]} has a label that training lacks: {len(unknown)} images lie in "
                f"folders without training images ({image_files.listing(folders)}); expected only "
                f"{image_files.listing(names[:num_trained])}; rename or remove the others, or add training "
                "images"
            )
        return (num_trained,)

    def describe(self, index: int) -> str:
        return self._paths[index]

    def content_digest(self) -> str:
        return self._digest


class FileSplit(LabelledFiles):
    """Images of one size, or fitted to one, in files of their own.

    Args:
      paths: as for `LabelledFiles`, with the others below.
      shape: `(H, W, C)` of the images.
      reference_image: the path of the image whose size all must share; None resizes
        images of another size instead.
      folders: the folder of each file, or None.
      digest: of the names and contents of the files.
    """

    def __init__(
        self,
        paths: list[str],
        shape: tuple[int, ...],
        reference_image: str | None,
        folders: FolderLabels | None,
        digest: str = "",
    ):
        super().__init__(paths, shape, folders, digest)
        self._reference_image = reference_image

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        contents = tf.numpy_function(self._contents, [indices], tf.string, stateful=False)
        fit = self._reference_image is None
        return decode_images(tf.ensure_shape(contents, (None,)), self.shape, fit, retry)

    def _contents(self, indices: np.ndarray) -> np.ndarray:
        """Returns the encoded images, `[n]` bytes."""
        return np.array([upright(read_regular(self._paths[index])) for index in indices], object)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Decodes images one by one, so that an error names the file: `[n, H, W, C]`, uint8."""
        return np.array([self._image(self._paths[i]) for i in indices], np.uint8).reshape(-1, *self.shape)

    def _image(self, path: str) -> np.ndarray:
        size = self.shape[:2] if self._reference_image is None else None
        image = decode_image(read_regular(path), path, self.shape[2], size)
        if image.shape != self.shape:
            raise DataError(
                f"{path} is {image.shape[0]}x{image.shape[1]} pixels, expected "
                f"{self.shape[0]}x{self.shape[1]} as in {self._reference_image}; set `ImageFolder.image_size`"
            )
        return image


class MixedFileSplit(LabelledFiles):
    """Images of mixed sizes in files of their own, of which a rectangle is read.

    A file is read, decoded and cropped on its own, so that no more images are in memory at a time than
    are decoded side by side.

    Args:
      paths: as for `LabelledFiles`, with the others below.
      decoder: cuts the rectangles.
      folders: the folder of each file, or None.
      digest: of the names and contents of the files.
    """

    def __init__(
        self, paths: list[str], decoder: CropDecoder, folders: FolderLabels | None, digest: str = ""
    ):
        super().__init__(paths, decoder.shape, folders, digest)
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
            return tf.numpy_function(self._read, [indices, *draws], "uint8", stateful=False)

        return decode_in_parallel((indices, *draws), decode, self.shape, retry)

    def _prepared(self, index: int) -> tuple[bytes, np.int64]:
        return prepared(read_regular(self._paths[index]))

    def _read(self, indices: np.ndarray, draws: np.ndarray | None = None) -> np.ndarray:
        """Decodes images one by one, so that an error names the file: `[n, h, w, C]`, uint8."""
        rows = [None] * len(indices) if draws is None else draws
        paths = [self._paths[index] for index in indices]
        images = [
            self._decoder.decode_named(read_regular(path), path, row)
            for path, row in zip(paths, rows, strict=True)
        ]
        return np.array(images, np.uint8).reshape(-1, *self.shape)
