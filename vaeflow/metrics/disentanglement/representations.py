"""What a disentanglement score reads: the codes of images, their factors, and batches that share a factor."""

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.metrics.disentanglement.factor_grid import FactorGrid

if TYPE_CHECKING:
    from vaeflow.analysis.embedding import Embedding

Part = tuple[np.ndarray, np.ndarray]  # Codes `[m, D]` and factors `[m, F]`.


class Representations(abc.ABC):
    """The codes of n images and their factors; further batches as the protocol decides.

    A factor with a single value among the images carries no information; it is left out.

    Args:
      embedding: of the n images, one group of latents that is a vector.
      factors: int64 `[n, F]`, labels from 0 on.
      factor_names: their names.
      factor_sizes: how many values each may have in the data.
      num_processes: how many processes a score may use; its figures do not depend on it.

    Attributes:
      codes: float64 `[n, D]`, the centers of q(z|x).
      embedding: the `Embedding` with the `parameters` of each q(z|x) and its `kl`.
      factors: int64 `[n, F]`, without those left out; so are `factor_names` and `factor_sizes`.
      left_out: the names of the factors left out.

    Raises:
      ConfigurationError: every factor has a single value.
      TrainingDiverged: a code is not finite.
    """

    def __init__(
        self,
        embedding: "Embedding",
        factors: np.ndarray,
        factor_names: Sequence[str],
        factor_sizes: Sequence[int],
        num_processes: int = 1,
    ):
        self.embedding = embedding
        self.codes = _checked_codes(embedding)
        kept = np.flatnonzero((factors != factors[:1]).any(axis=0)).tolist()
        self.left_out = tuple(name for place, name in enumerate(factor_names) if place not in kept)
        if not kept:
            raise ConfigurationError(
                f"a score needs a factor with two values or more among the {len(factors):,} images, and "
                f"{', '.join(factor_names)} {'has' if len(factor_names) == 1 else 'have'} one; choose "
                "another split or more points"
            )
        self.factors = factors[:, kept]
        self.factor_names = tuple(factor_names[place] for place in kept)
        self.factor_sizes = tuple(int(factor_sizes[place]) for place in kept)
        self.num_processes = num_processes
        self._kept = kept

    @property
    def num_factors(self) -> int:
        """The number of factors, F."""
        return len(self.factor_names)

    @abc.abstractmethod
    def batch(
        self, rng: np.random.Generator, size: int | tuple[int, ...], fixed: int | np.ndarray | None = None
    ) -> np.ndarray:
        """Draws codes of images, with replacement.

        Args:
          rng: where the draws come from.
          size: how many, n; or `(m, n)` for m batches.
          fixed: the factor that all images of a batch share a value of, an int or one for each
            batch, int64 `[m]`. The value is that of a random image. None for random images.

        Returns:
          Float64 `[n, D]` or `[m, n, D]`.

        Raises:
          ConfigurationError: no two images share a value of the factor.
        """

    @abc.abstractmethod
    def pairs(
        self, rng: np.random.Generator, size: tuple[int, int], fixed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws pairs of images that share a value of a factor, each pair another value.

        Args:
          rng: where the draws come from.
          size: `(m, n)`, n pairs in each of m batches.
          fixed: the factor of each batch, int64 `[m]`.

        Returns:
          The codes of the first and of the second images, each float64 `[m, n, D]`.

        Raises:
          ConfigurationError: no two images share a value of the factor.
        """

    @abc.abstractmethod
    def train_and_test(self, rng: np.random.Generator) -> tuple[Part, Part]:
        """Returns codes and factors to train a predictor with, and others, half as many, to test it with."""


class Pool(Representations):
    """The protocol `"pool"`: every batch is drawn from the n images, and nothing else is encoded.

    A batch is drawn with replacement, so that few images with a value of a factor make a batch of any
    size; values that a single image has are not shared. The images of a pair are different.
    For a predictor, a random third of the images is held out.
    """

    def batch(
        self, rng: np.random.Generator, size: int | tuple[int, ...], fixed: int | np.ndarray | None = None
    ) -> np.ndarray:
        if fixed is None:
            return self.codes[rng.integers(len(self.codes), size=size)]
        shape = (1, size) if isinstance(size, int) else size
        rows = np.empty(shape, np.int64)
        for factor, batches in _batches_of(fixed, shape[0]):
            order, first, count, _ = self._groups(factor)
            anchors = rng.choice(self._sharing(factor), len(batches))[:, None]
            places = rng.integers(count[anchors], size=(len(batches), shape[1]))
            rows[batches] = order[first[anchors] + places]
        return self.codes[rows[0] if isinstance(size, int) else rows]

    def pairs(
        self, rng: np.random.Generator, size: tuple[int, int], fixed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        rows, others = np.empty(size, np.int64), np.empty(size, np.int64)
        for factor, batches in _batches_of(fixed, size[0]):
            order, first, count, place = self._groups(factor)
            chosen = rng.choice(self._sharing(factor), (len(batches), size[1]))
            steps = rng.integers(1, count[chosen])  # From one image of the group to another.
            rows[batches] = chosen
            others[batches] = order[first[chosen] + (place[chosen] + steps) % count[chosen]]
        return self.codes[rows], self.codes[others]

    def train_and_test(self, rng: np.random.Generator) -> tuple[Part, Part]:
        shuffled = rng.permutation(len(self.codes))
        num_train = len(shuffled) - len(shuffled) // 3
        train, test = shuffled[:num_train], shuffled[num_train:]
        return (self.codes[train], self.factors[train]), (self.codes[test], self.factors[test])

    def _groups(self, factor: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Groups the images by the value of a factor: four int64 `[n]`.

        Returns:
          The images group by group; and for each image where its group begins there, the size of
          the group, and the image's place in it.
        """
        labels = self.factors[:, factor]
        order = np.argsort(labels, kind="stable")
        _, number, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        first = (np.cumsum(sizes) - sizes)[number]
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return order, first, sizes[number], place - first

    def _sharing(self, factor: int) -> np.ndarray:
        """Lists the images whose value of a factor another image has too."""
        found = np.flatnonzero(self._groups(factor)[2] > 1)
        if not len(found):
            raise ConfigurationError(
                f"no two of the {len(self.codes):,} images share a value of the factor "
                f"{self.factor_names[factor]!r}, which this score needs; choose another split or more points"
            )
        return found


class FreshImages(Representations):
    """The protocol `"published"`: images for the factors that a score draws, each value equally likely.

    Images come from the whole grid of factors, whichever split they are in. As an image is always
    encoded alike, each is encoded once, when it is first drawn.

    Args:
      grid: the `FactorGrid` of the images.
      encode: takes the numbers of images, int64 `[m]`, increasing; returns their `Embedding`.
      num_points: the number of random images, n.
      rng: draws these.
      factor_names, factor_sizes, num_processes: as for `Representations`.
    """

    def __init__(
        self,
        grid: FactorGrid,
        encode: Callable[[np.ndarray], "Embedding"],
        num_points: int,
        rng: np.random.Generator,
        factor_names: Sequence[str],
        factor_sizes: Sequence[int],
        num_processes: int = 1,
    ):
        self._grid = grid
        self._encode = encode
        points = grid.draw(rng, (num_points,))
        numbers, rows = np.unique(grid.images(points), return_inverse=True)
        distinct = encode(numbers)
        embedding = distinct.at(rows)
        super().__init__(embedding, grid.labels(points), factor_names, factor_sizes, num_processes)
        self._codes_of_images = np.full((grid.num_images, self.codes.shape[1]), np.nan)
        self._codes_of_images[numbers] = _checked_codes(distinct)

    def batch(
        self, rng: np.random.Generator, size: int | tuple[int, ...], fixed: int | np.ndarray | None = None
    ) -> np.ndarray:
        points = self._grid.draw(rng, (size,) if isinstance(size, int) else size)
        if fixed is not None:
            batches = points[None] if isinstance(size, int) else points
            for factor, chosen in _batches_of(fixed, len(batches)):
                place = self._kept[factor]
                batches[chosen, :, place] = batches[chosen, :1, place]
        return self._codes(points)

    def pairs(
        self, rng: np.random.Generator, size: tuple[int, int], fixed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        both = self._grid.draw(rng, (2, *size))
        for factor, chosen in _batches_of(fixed, size[0]):
            place = self._kept[factor]
            both[1, chosen, :, place] = both[0, chosen, :, place]
        first, second = self._codes(both)
        return first, second

    def train_and_test(self, rng: np.random.Generator) -> tuple[Part, Part]:
        points = self._grid.draw(rng, (max(1, len(self.codes) // 2),))
        test = self._codes(points), self._grid.labels(points)[:, self._kept]
        return (self.codes, self.factors), test

    def _codes(self, points: np.ndarray) -> np.ndarray:
        """Returns the codes `[…, D]` of points of the grid `[…, F]`, and encodes what is new of them."""
        images = self._grid.images(points)
        missing = np.unique(images)
        missing = missing[np.isnan(self._codes_of_images[missing, 0])]
        if len(missing):
            self._codes_of_images[missing] = _checked_codes(self._encode(missing))
        return self._codes_of_images[images]


def _batches_of(fixed: int | np.ndarray, num_batches: int) -> list[tuple[int, np.ndarray]]:
    """Lists for each factor that is fixed in some of the batches the numbers of these."""
    of_batches = np.broadcast_to(fixed, (num_batches,))
    return [(int(factor), np.flatnonzero(of_batches == factor)) for factor in np.unique(of_batches)]


def _checked_codes(embedding: "Embedding") -> np.ndarray:
    codes = embedding.center.astype(np.float64)
    if not np.isfinite(codes).all():
        raise TrainingDiverged(
            "the model gives latents that are not finite, of which no score can be computed; nothing was "
            "written. Choose another checkpoint with `--checkpoint`, or train with a lower learning rate"
        )
    return codes
