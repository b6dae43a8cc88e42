"""White sprites on black, drawn from five factors: dSprites without a download."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.held_out import held_out_split
from vaeflow.datasets.kept import BitStore, KeptSplit
from vaeflow.devices import memory
from vaeflow.errors import ConfigurationError

FACTOR_NAMES = ("shape", "scale", "orientation", "x_position", "y_position")
FACTOR_SIZES = (3, 6, 40, 32, 32)
SHAPES = ("square", "ellipse", "heart")
_SMALLEST_IMAGE = 16
# Of the free memory, for images that are drawn; the rest is left for the model and for other programs.
_LARGEST_SHARE_OF_MEMORY = 0.25

# As fractions of the image's side. A sprite extends less than the margin from its
# centre, so it stays inside the image at every position and orientation.
_MARGIN = 15 / 64
_SCALES = np.linspace(0.5, 1, FACTOR_SIZES[1])
_ORIENTATIONS = np.linspace(0, 2 * np.pi, FACTOR_SIZES[2])

# One formula draws every shape. With U = u / half_width, V = v / half_height and
# W = V + bend |U|, a pixel is inside if max(U², W²) + round min(U², W²) < 1: a square
# with round 0, an ellipse with round 1, and a heart if it is also sheared to both sides.
_HALF_WIDTH = np.array([10, 7, 12]) / 64
_HALF_HEIGHT = np.array([10, 14, 9.5]) / 64
_BEND = np.array([0, 0, 0.8])
_ROUND = np.array([0, 1, 1])
# Shearing moves the centroid by bend E|U|, and E|U| = 4 / (3 pi) in a unit disc.
_LIFT = _BEND * 4 / (3 * np.pi)


@registry.dataset
class RenderedSprites(Dataset):
    """The factor grid of dSprites (Matthey et al. 2017), drawn when first used: `[S, S, 1]`, uint8 0 or 255.

    The grid has squares, ellipses and hearts at 6 scales (0.5 to 1), 40 orientations (0 to
    2 pi, of which the last looks like the first), 32 x and 32 y positions: 737,280 images
    with hard edges. They resemble the published images but are not pixel-identical to them.
    `x_position` grows to the right and `y_position` downwards, both of the sprite's
    centroid. The factors of an example are its five indices on the published grid, also if
    ranges are given. Images that were drawn are kept in memory, a bit for each pixel (377 MB for the whole
    grid at 64x64), up to a quarter of what is free at the start.

    Args:
      image_size: the side S in pixels, at least 16; sprites grow with it.
      shapes: a list of `"square"`, `"ellipse"` and `"heart"`; None takes all three.
      scales: the range `(lowest, highest)` of indices on the grid, both included, within
        0 … 5; None takes all. The next three arguments are given in the same way.
      orientations: within 0 … 39.
      x_positions: within 0 … 31.
      y_positions: within 0 … 31.
      num_evaluation: the number of grid points held out for evaluation, the same for every
        seed of a run; at most a tenth of the grid, at least one.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: the grid has fewer than two points, or a name or range is not on
        it.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        image_size: int = 64,
        shapes: Sequence[str] | None = None,
        scales: Sequence[int] | None = None,
        orientations: Sequence[int] | None = None,
        x_positions: Sequence[int] | None = None,
        y_positions: Sequence[int] | None = None,
        num_evaluation: int = 10_000,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_size = validation.positive_integer("RenderedSprites.image_size", image_size)
        self.num_evaluation = validation.positive_integer("RenderedSprites.num_evaluation", num_evaluation)
        if self.image_size < _SMALLEST_IMAGE:
            raise ConfigurationError(
                f"`RenderedSprites.image_size` must be at least {_SMALLEST_IMAGE}, got {image_size}; "
                "smaller sprites have no recognizable shape"
            )
        ranges = {
            "scales": scales,
            "orientations": orientations,
            "x_positions": x_positions,
            "y_positions": y_positions,
        }
        self.grid = (
            _checked_shapes(shapes),
            *map(_checked_range, ranges, ranges.values(), FACTOR_SIZES[1:]),
        )
        if math.prod(map(len, self.grid)) < 2:
            raise ConfigurationError("`RenderedSprites` needs a grid of at least two points; widen a range")

    def load(self, name: str) -> Split:
        """Returns a split that draws each image once; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        num_points = math.prod(map(len, self.grid))
        held_out = held_out_split(
            "evaluation",
            num_points,
            max(1, min(self.num_evaluation, num_points // 10)),
            "RenderedSprites.num_evaluation",
        )
        split = SpriteSplit(self.image_size, self.grid, held_out, name)
        room = int(_LARGEST_SHARE_OF_MEMORY * memory.available_bytes())
        return KeptSplit(split, BitStore(split.num_examples, split.shape, room))

    def load_grid(self) -> "SpriteSplit":
        """Returns all points of the grid, row by row; see `Dataset.load_grid`."""
        return SpriteSplit(self.image_size, self.grid, np.zeros(0, np.int64), "train")


class SpriteSplit(Split):
    """The grid points of one split, drawn on demand.

    Args:
      image_size: the side of an image in pixels.
      grid: for each factor, the indices of the published grid that are used.
      held_out: the grid points held out for evaluation, an increasing int64 array.
      name: `"train"` or `"evaluation"`.
    """

    factor_names = FACTOR_NAMES

    def __init__(self, image_size: int, grid: tuple[tuple[int, ...], ...], held_out: np.ndarray, name: str):
        num_points = math.prod(map(len, grid))
        count = len(held_out) if name == "evaluation" else num_points - len(held_out)
        super().__init__(count, (image_size, image_size, 1), "uint8")
        self.factor_sizes = FACTOR_SIZES
        self._starts, self._distances = _windows(image_size)
        self._grid = [np.array(places, np.int64) for places in grid]
        self._held_out = held_out if name == "evaluation" else None
        # There are h - k training points below the k-th held-out point h. That is enough to
        # find the i-th training point without a list of them all.
        self._num_below = held_out - np.arange(len(held_out))

    def factors(self, indices: np.ndarray) -> np.ndarray:
        return self.labels(tf.constant(indices, tf.int64)).numpy()

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        with tf.device("CPU:0"):
            return tf.stack(self._factors(indices), axis=1)

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        # An accelerator rounds differently; the images must not depend on it.
        with tf.device("CPU:0"):
            return self.images_of(self._factors(indices))

    def images_of(self, factors: Sequence[tf.Tensor]) -> tf.Tensor:
        """Draws the images of any points of the published grid; call it on the CPU.

        Args:
          factors: five int64 tensors `[n]`.

        Returns:
          uint8 `[n, S, S, 1]`.
        """
        shape, scale, orientation, x, y = factors
        inside = self._draw(shape, scale, orientation, x, y)
        images = tf.numpy_function(self._placed, [inside, x, y], "uint8", stateful=False)
        return tf.ensure_shape(images, (None, *self.shape))

    def _placed(self, inside: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Puts the windows of sprites, bool `[n, W, W]`, on black: uint8 `[n, S, S, 1]`."""
        images = np.zeros((len(inside), *self.shape), np.uint8)
        white = inside.astype(np.uint8) * np.uint8(255)
        side = inside.shape[1]
        corners = zip(self._starts[y].tolist(), self._starts[x].tolist(), strict=True)
        for image, window, (row, column) in zip(images, white, corners, strict=True):
            image[row : row + side, column : column + side, 0] = window
        return images

    def _draw(
        self, shape: tf.Tensor, scale: tf.Tensor, orientation: tf.Tensor, x: tf.Tensor, y: tf.Tensor
    ) -> tf.Tensor:
        """Says which pixels of the window around each sprite are inside it: bool `[n, W, W]`."""
        size = self.shape[0]

        def column(values):
            return values[:, None, None]

        def shape_constant(table):
            return column(tf.gather(tf.constant(table, tf.float32), shape))

        side = column(tf.gather(tf.constant(size * _SCALES, tf.float32), scale))
        cosine = column(tf.gather(tf.constant(np.cos(_ORIENTATIONS), tf.float32), orientation))
        sine = column(tf.gather(tf.constant(np.sin(_ORIENTATIONS), tf.float32), orientation))
        distances = tf.constant(self._distances, tf.float32)
        across, down = tf.gather(distances, x)[:, None, :], tf.gather(distances, y)[:, :, None]
        # From here on there are only elementwise sums, products and comparisons, which
        # round alike in every batch. They act on rows or columns as long as possible.
        width, height = shape_constant(_HALF_WIDTH) * side, shape_constant(_HALF_HEIGHT) * side
        u = across * (cosine / width) + down * (sine / width)
        v = down * (cosine / height) - shape_constant(_LIFT) - across * (sine / height)
        u_squared = tf.square(u)
        w_squared = tf.math.squared_difference(v, tf.abs(u) * -shape_constant(_BEND))
        rounding = tf.minimum(u_squared, w_squared) * shape_constant(_ROUND)
        return tf.maximum(u_squared, w_squared) + rounding < 1

    def _factors(self, indices: tf.Tensor) -> list[tf.Tensor]:
        """Returns five int64 tensors `[n]`: the indices of the examples on the published grid."""
        if self._held_out is not None:
            points = tf.gather(tf.constant(self._held_out), indices)
        else:
            skipped = tf.searchsorted(tf.constant(self._num_below), indices, side="right", out_type=tf.int64)
            points = indices + skipped
        places = []
        for values in reversed(self._grid):
            places.append(tf.gather(tf.constant(values), points % len(values)))
            points = points // len(values)
        return places[::-1]


def _windows(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the W pixels of a row or column that a sprite at each position may reach.

    Returns:
      The first of them, int64 `[32]`; and the signed distances `[32, W]` of their centres from the
      position, in pixels.
    """
    positions = size * np.linspace(_MARGIN, 1 - _MARGIN, FACTOR_SIZES[3])
    side = math.ceil(2 * _MARGIN * size) + 1
    starts = np.clip(np.floor(positions - _MARGIN * size), 0, size - side).astype(np.int64)
    places = np.arange(size) + 0.5
    return starts, places[starts[:, None] + np.arange(side)] - positions[:, None]


def _checked_shapes(names: Sequence[str] | None) -> tuple[int, ...]:
    names = SHAPES if names is None else names
    if (
        not isinstance(names, (list, tuple))
        or not names
        or len(set(names)) != len(names)
        or not set(names) <= set(SHAPES)
    ):
        raise ConfigurationError(
            f"`RenderedSprites.shapes` must be a list of different names among {', '.join(SHAPES)}; "
            f"got {names!r}"
        )
    return tuple(sorted(SHAPES.index(name) for name in names))


def _checked_range(setting: str, value: Sequence[int] | None, size: int) -> tuple[int, ...]:
    lowest, highest = (0, size - 1) if value is None else _pair(setting, value)
    if not 0 <= lowest <= highest < size:
        raise ConfigurationError(
            f"`RenderedSprites.{setting}` must be (lowest, highest) with "
            f"0 <= lowest <= highest <= {size - 1}, both included; got {value!r}"
        )
    return tuple(range(lowest, highest + 1))


def _pair(setting: str, value: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ConfigurationError(f"`RenderedSprites.{setting}` must be (lowest, highest), got {value!r}")
    return tuple(validation.non_negative_integer(f"RenderedSprites.{setting}", place) for place in value)
