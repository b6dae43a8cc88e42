"""Sets up the projector of TensorBoard: latents as points in space, with labels and pictures."""

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector

from vaeflow.analysis import grids
from vaeflow.datasets import pipeline
from vaeflow.datasets.base import Split
from vaeflow.runs import escaping, watchdog

# TensorBoard shows no more points than this, however many the file holds.
MAX_EXAMPLES = 100_000

_MAX_SHEET_SIZE = 8192  # Pixels on a side; TensorBoard refuses a larger picture.
_CHUNK_BYTES = 2**26  # Images shrunk at a time.
_CHUNK_LINES = 1000  # Lines of a table converted to Python's numbers at a time.


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


def write(
    folder: pathlib.Path,
    points: np.ndarray,
    indices: np.ndarray,
    factors: np.ndarray,
    factor_names: Sequence[str],
    sprites: SpriteSheet | None,
) -> None:
    """Writes the projector's files to a folder, which `announce` turns into a run.

    `points.tsv`, `metadata.tsv` (the factors, then the index) and `sprites.png` hold
    each example, in order; `projector_config.pbtxt` names these files.

    Args:
      folder: made if it does not exist.
      points: `[n, D]`, e.g. posterior means; a single dimension gets a second one of zeros.
      indices: int64 `[n]`, where the examples are in their split.
      factors: int64 `[n, F]`; F may be 0.
      factor_names: the F names.
      sprites: a `SpriteSheet` of the examples; None where they are no pictures.

    Raises:
      EnvironmentFailure, OSError, tf.errors.OpError: a file could not be written.
    """
    if points.shape[1] == 1:
        points = np.pad(points, [(0, 0), (0, 1)])  # TensorBoard shows nothing for a single dimension.
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "points.tsv", [points], delimiter="\t")
    # The factors first: TensorBoard shows the first column next to a point. In a file of one
    # column it reads the first line as an example, not as a header.
    names = [*factor_names, "index"] if len(factor_names) else ()
    write_table(folder / "metadata.tsv", [factors, indices], names, "\t")

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name="latents", tensor_path="points.tsv", metadata_path="metadata.tsv"
    )
    if sprites is not None:
        grids.write_png(folder / "sprites.png", sprites.pixels)
        embedding.sprite.image_path = "sprites.png"
        embedding.sprite.single_image_dim.extend([sprites.width, sprites.height])
    projector.visualize_embeddings(str(folder), config)


def announce(folder: pathlib.Path, description: str) -> None:
    """Makes a folder a run that TensorBoard finds, with a text that describes it.

    TensorBoard looks for projections only in folders with an event file.
    """
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=0):
        tf.summary.text("embedding", escaping.markdown(description))
    writer.close()


def sprite_sheet(split: Split, indices: np.ndarray) -> SpriteSheet:
    """Draws thumbnails of the images at `indices`.

    Images are shrunk, by the mean over areas, if the sheet would be larger than 8192
    pixels on a side, which is TensorBoard's limit. Images of two channels show the
    first, images of more than three show the first three.

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
        watchdog.progress(f"thumbnails {first} and on of {len(indices)}")
        positions = np.arange(first, min(first + chunk, len(indices)))
        with pipeline.readable_errors():
            stored: Any = split.examples(tf.constant(indices[positions]))
        cells[positions // columns, positions % columns] = _shrunk(stored[..., :channels], (height, width))
    return SpriteSheet(sheet.reshape(rows * height, columns * width, channels), height, width)


def thumbnail_size(shape: Sequence[int], columns: int) -> tuple[int, int]:
    """Returns the (height, width) at which `columns` images side by side fit into a sheet.

    Args:
      shape: `(H, W, C)` of the images; their proportions are kept.
      columns: the number of images in a row, and the largest number in a column.
    """
    height, width = shape[:2]
    scale = min(1.0, _MAX_SHEET_SIZE // columns / max(height, width))
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))


def write_table(
    path: pathlib.Path, columns: Sequence[np.ndarray], names: Sequence[str] = (), delimiter: str = ","
) -> None:
    """Writes a text file with a line for each example.

    Args:
      path: the file.
      columns: arrays `[n]` or `[n, k]` of integers or floats; floats are written with
        enough digits to read the same number back.
      names: the header, a name for each column; empty for no header.
      delimiter: the text between two columns.
    """
    columns = [column[:, None] if column.ndim == 1 else column for column in columns]
    formats = [_format(column.dtype) for column in columns for _ in range(column.shape[1])]
    line = delimiter.join(formats) + "\n"
    with path.open("w", encoding="utf-8") as file:
        if names:
            file.write(delimiter.join(escaping.cell(str(name), delimiter) for name in names) + "\n")
        for first in range(0, len(columns[0]), _CHUNK_LINES):
            chunks = [column[first : first + _CHUNK_LINES].tolist() for column in columns]
            rows = zip(*chunks, strict=True)
            file.writelines(line % tuple(itertools.chain.from_iterable(row)) for row in rows)


def _format(dtype: np.dtype) -> str:
    if np.issubdtype(dtype, np.integer):
        return "%d"
    return "%.17g" if dtype == np.float64 else "%.9g"


def _shrunk(stored: tf.Tensor, size: tuple[int, int]) -> np.ndarray:
    """Shrinks images as they are stored, `[n, H, W, C]`, to uint8 `[n, h, w, C]`."""
    if stored.dtype == tf.uint8 and stored.shape[1:3] == size:
        return stored.numpy()
    pixels = tf.cast(stored, tf.float32) * (1.0 if stored.dtype == tf.uint8 else 255.0)
    if stored.shape[1:3] != size:
        pixels = tf.image.resize(pixels, size, method="area")
    return np.round(np.clip(pixels.numpy(), 0.0, 255.0)).astype(np.uint8)
