"""Every combination of the values of some factors, with an image for each."""

import math

import numpy as np

from vaeflow.errors import DataError


class FactorGrid:
    """Finds the image that has given values of all factors.

    A point of the grid is an int64 `[F]`: for each factor the place of its value among those
    that occur.

    Args:
      factors: int64 `[N, F]`, the labels of N images, one image for each combination of the values.
      place: names the source in an error.

    Attributes:
      num_images: N.

    Raises:
      DataError: a combination is missing, or two images have one.
    """

    def __init__(self, factors: np.ndarray, place: str):
        self.num_images = len(factors)
        self._values = [np.unique(column) for column in factors.T]
        self._counts = tuple(map(len, self._values))
        if math.prod(self._counts) == self.num_images:
            places = [np.searchsorted(*both) for both in zip(self._values, factors.T, strict=True)]
            self._images = np.full(self.num_images, -1)
            self._images[np.ravel_multi_index(places, self._counts)] = np.arange(self.num_images)
        if math.prod(self._counts) != self.num_images or (self._images < 0).any():
            combinations = " x ".join(map(str, self._counts))
            raise DataError(
                f"{place} must return an image for each of the {combinations} combinations of the factors' "
                f"values, once; it returned {self.num_images:,} images, not of all of these"
            )

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Draws points `[*shape, F]` with replacement, every value of a factor equally likely."""
        return rng.integers(self._counts, size=(*shape, len(self._counts)))

    def images(self, points: np.ndarray) -> np.ndarray:
        """Returns the numbers of the images of points `[…, F]`: int64 `[…]`."""
        return self._images[np.ravel_multi_index(tuple(np.moveaxis(points, -1, 0)), self._counts)]

    def labels(self, points: np.ndarray) -> np.ndarray:
        """Returns the labels of points `[n, F]`: int64 `[n, F]`."""
        return np.stack([of[at] for of, at in zip(self._values, points.T, strict=True)], axis=1)
