"""Sets up the projector of TensorBoard: latents as points in space, with labels and pictures."""

import dataclasses
import itertools
import math

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector

from vaeflow.analysis import grids
from vaeflow.datasets import pipeline

# TensorBoard shows no more points than this, whatever the file holds.
MAX_EXAMPLES = 100_000

_MAX_SHEET_SIZE = 8192  # Pixels on a side; TensorBoard refuses a larger picture.
_CHUNK_BYTES = 2**26  # Of images that are shrunk at a time.
_CHUNK_LINES = 1000  # Of a table, that are Python's numbers at a time.


@dataclasses.dataclass(frozen=True)
class SpriteSheet:
    """Thumbnails side by side in one picture, each row from left to right.

    Attributes:
      pixels: uint8 `[rows·h, columns·w, 1 or 3]`; cells after the last are black.
      height: h, pixels of a thumbnail.
      width: w.
    """

    pixels: np.ndarray
    height: int
    width: int


def write(folder, points, indices, factors, factor_names, sprites):
    """Writes what the projector shows to a folder, which `announce` turns into a run.

    `points.tsv`, `metadata.tsv` (the factors, then the index) and `sprites.png` hold
    each example, in order; `projector_config.pbtxt` names them.

    Args:
      folder: a `pathlib.Path`; made if it does not exist.
      points: `[n, D]`, e.g. posterior means; a single dimension gets a second one of zeros.
      indices: int64 `[n]`, where the examples are in their split.
      factors: int64 `[n, F]`; F may be 0.
      factor_names: the F names.
      sprites: a `SpriteSheet` of the examples.

    Raises:
      EnvironmentFailure, OSError, tf.errors.OpError: a file could not be written.
    """
    if points.shape[1] == 1:
        points = np.pad(points, [(0, 0), (0, 1)])  # TensorBoard shows nothing of one dimension.
    grids.write_png(folder / "sprites.png", sprites.pixels)
    write_table(folder / "points.tsv", [points], delimiter="\t")
    # The factors first: TensorBoard shows the first column beside a point. It takes the
    # first line of a single column for an example, not for a header.
    names = [*factor_names, "index"] if len(factor_names) else ()
    write_table(folder / "metadata.tsv", [factors, indices], names, "\t")

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="latents", tensor_path="points.tsv", metadata_path="metadata.tsv"
    )
    embedding.sprite.image_path = "sprites.png"
    embedding.sprite.single_image_dim.extend([sprites.width, sprites.height])
    projector.visualize_embeddings(str(folder), config)


def announce(folder, description):
    """Makes a folder a run, which TensorBoard then finds, with a text that describes it.

    TensorBoard looks for projections in the folders that hold an event file.
    """
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        tf.summary.text("embedding", description)
    writer.close()


def sprite_sheet(split, indices):
    """Draws thumbnails of the images at `indices`.

    Images are shrunk, by the mean over areas, where the sheet would be larger than
    8192 pixels on a side, which is TensorBoard's limit. Of two channels the first is
    shown, of more than three the first three.

    Args:
      split: a `Split`.
      indices: int64 `[n]`.

    Returns:
      A `SpriteSheet`.

    Raises:
      DataError: an image cannot be read.
    """
    columns = math.ceil(math.sqrt(len(indices)))
    rows = -(-len(indices) // columns)
    height, width = thumbnail_size(split.shape, columns)
    channels = 3 if split.shape[-1] >= 3 else 1
    sheet = np.zeros((rows, height, columns, width, channels), np.uint8)
    cells = sheet.swapaxes(1, 2)  # [rows, columns, h, w, channels], the same memory.
    chunk = max(1, _CHUNK_BYTES // (4 * math.prod(split.shape)))
    for first in range(0, len(indices), chunk):
        positions = np.arange(first, min(first + chunk, len(indices)))
        with pipeline.readable_errors():
            stored = split.examples(tf.constant(indices[positions]))
        cells[positions // columns, positions % columns] = _shrunk(stored[..., :channels], (height, width))
    return SpriteSheet(sheet.reshape(rows * height, columns * width, channels), height, width)


def thumbnail_size(shape, columns):
    """Returns the (height, width) with which `columns` images side by side fit into a sheet.

    Args:
      shape: `(H, W, C)` of the images; their proportions are kept.
      columns: how many stand in a row, and at most in a column.
    """
    height, width = shape[:2]
    scale = min(1.0, _MAX_SHEET_SIZE // columns / max(height, width))
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))


def write_table(path, columns, names=(), delimiter=","):
    """Writes a text file with a line for each example.

    Args:
      path: the file.
      columns: arrays `[n]` or `[n, k]`; integers, or floats, which are written with as
        many digits as it takes to read the same number back.
      names: the header, a name for each column; none for no header.
      delimiter: what stands between two columns.
    """
    columns = [column[:, None] if column.ndim == 1 else column for column in columns]
    formats = [_format(column.dtype) for column in columns for _ in range(column.shape[1])]
    line = delimiter.join(formats) + "\n"
    with path.open("w", encoding="utf-8") as file:
        if names:
            file.write(delimiter.join(_without_breaks(name, delimiter) for name in names) + "\n")
        for first in range(0, len(columns[0]), _CHUNK_LINES):
            chunks = [column[first : first + _CHUNK_LINES].tolist() for column in columns]
            rows = zip(*chunks, strict=True)
            file.writelines(line % tuple(itertools.chain.from_iterable(row)) for row in rows)


def _format(dtype):
    if np.issubdtype(dtype, np.integer):
        return "%d"
    return "%.17g" if dtype == np.float64 else "%.9g"


def _without_breaks(name, delimiter):
    """Replaces what would end a column or a line."""
    return " ".join(str(name).replace(delimiter, " ").split())


def _shrunk(stored, size):
    """Shrinks images as they are stored `[n, H, W, C]` to uint8 `[n, h, w, C]`."""
    if stored.dtype == tf.uint8 and stored.shape[1:3] == size:
        return stored.numpy()
    pixels = tf.cast(stored, tf.float32) * (1.0 if stored.dtype == tf.uint8 else 255.0)
    if stored.shape[1:3] != size:
        pixels = tf.image.resize(pixels, size, method="area")
    return np.round(np.clip(pixels.numpy(), 0.0, 255.0)).astype(np.uint8)
