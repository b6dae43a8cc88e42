"""Pairs of sprites that differ in a few factors."""

from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets.base import Split
from vaeflow.datasets.derived import DerivedSplit
from vaeflow.datasets.rendered_sprites import RenderedSprites, SpriteSplit
from vaeflow.errors import ConfigurationError


@registry.dataset
class SpritePairs(RenderedSprites):
    """Pairs of sprites that share factors, to train on (Locatello et al. 2020, arXiv:2002.02886, section 5).

    A pair is an image of `RenderedSprites` and a second one, k of whose factors have other values, which are
    drawn uniformly, as are the k factors. All of it depends on the number of the example alone. The second
    image may be any of the grid, also one that is held out. Training steps see pairs; evaluation,
    `embed`, scores and all else see single images.

    Args:
      num_changed: k; None draws it for each pair, uniformly from 1 to one less than the number of factors
        that vary.
      **kwargs: as for `RenderedSprites`, without augmentations.

    Raises:
      ConfigurationError: there are augmentations, fewer than two factors vary, or not more than k.
    """

    def __init__(self, num_changed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if self.augmentations:
            raise ConfigurationError(
                "`SpritePairs.augmentations` must be left out: they would change the two images of a pair "
                "in different ways"
            )
        num_varying = sum(len(places) > 1 for places in self.grid)
        if num_changed is not None:
            validation.positive_integer("SpritePairs.num_changed", num_changed)
        if num_varying < 2 or (num_changed or 1) >= num_varying:
            raise ConfigurationError(
                f"`SpritePairs.num_changed` must be below the number of factors that vary, {num_varying}, so "
                f"that a pair shares some, got {num_changed}; lower it, or widen a range"
            )
        self.num_changed = num_changed

    def for_training(self, split: Split) -> Split:
        return PairedSprites(split, self.load_grid(), self.grid, self.num_changed)


class PairedSprites(DerivedSplit):
    """The images of a split of sprites, each with a second one; see `SpritePairs`.

    Args:
      source: the split, whose labels are places on the published grid.
      sprites: draws the second images.
      grid: for each factor, the places that are used.
      num_changed: k, or None.
    """

    has_pairs = True

    def __init__(
        self,
        source: Split,
        sprites: SpriteSplit,
        grid: tuple[tuple[int, ...], ...],
        num_changed: int | None,
    ):
        super().__init__(source)
        self.binarization = source.binarization
        self._sprites = sprites
        self._grid = grid
        self._num_changed = num_changed

    @property
    def stored_shape(self) -> tuple[int, ...]:
        return (*self.shape[:2], 2 * self.shape[2])

    def fingerprint(self) -> str:
        changed = "some" if self._num_changed is None else self._num_changed
        return f"{self._source.fingerprint()}, in pairs with {changed} factors changed"

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        first = self._source.examples(indices)
        factors = tf.numpy_function(self.second_factors, [indices], tf.int64, stateful=False)
        factors = tf.unstack(tf.ensure_shape(factors, (None, len(self._grid))), axis=1)
        with tf.device("CPU:0"):
            return tf.concat([first, self._sprites.images_of(factors)], axis=3)

    def second_factors(self, indices: np.ndarray) -> np.ndarray:
        """Returns the factors of the second image of pairs, int64 `[n, F]`; `indices` is NumPy `[n]`."""
        factors = np.array(self._source.factors(indices))
        varying = [factor for factor, places in enumerate(self._grid) if len(places) > 1]
        for row, index in enumerate(indices):
            # NumPy promises the same words in every version.
            words = np.random.Philox(key=[0, int(index)]).random_raw(1 + 2 * len(varying))
            most = len(varying) - 1
            count = self._num_changed or 1 + int(words[0] % most)
            chosen = np.argsort(words[1 : 1 + len(varying)], kind="stable")[:count]
            for position in chosen:
                places = self._grid[varying[position]]
                at = places.index(factors[row, varying[position]])
                step = 1 + int(words[1 + len(varying) + position] % (len(places) - 1))
                factors[row, varying[position]] = places[(at + step) % len(places)]
        return factors
