"""Arranges images in grids and writes them as PNG files and animated GIFs."""

import functools
import math
import pathlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from vaeflow.runs import files

_USUAL_WIDTH = 750  # Pixels; the approximate width to which a grid of small images is enlarged.
_TEXT_SIZE = 13
_CAPTION_HEIGHT = 18
_LABEL_WIDTH = 76


def can_show(shape: Sequence[int]) -> bool:
    """Whether an example `[H, W, C]` makes a picture; a row of a table, or vector, of one place does not."""
    return tuple(shape[:2]) != (1, 1)


def grid(
    images: npt.ArrayLike,
    columns: int,
    gap: int = 2,
    row_labels: Sequence[str] | None = None,
    captions: Sequence[str] | None = None,
    text_scale: int = 1,
) -> np.ndarray:
    """Arranges images in a grid on a white ground.

    Args:
      images: floats `[n, H, W, C]`, clipped to [0, 1].
      columns: the number of images in a row.
      gap: pixels between them.
      row_labels: a text for each row, written in a margin to its left; None for no
        margin.
      captions: a text for each image, written above it; None for none.
      text_scale: by which labels, captions and the room for them are enlarged, in a picture that will be
        shown smaller than it is.

    Returns:
      uint8 `[rows·(H + gap) + gap, columns·(W + gap) + gap, 1 or 3]`; labels add the
      margin to the width, captions a line of text to the height of each row.
    """
    images = _shown_channels(np.clip(np.asarray(images, np.float32), 0.0, 1.0))
    count, height, width, channels = images.shape
    above = text_scale * _CAPTION_HEIGHT * (captions is not None)
    margin = text_scale * _LABEL_WIDTH * (row_labels is not None)
    row_height, column_width = height + above + gap, width + gap
    shape = (-(-count // columns) * row_height + gap, margin + columns * column_width + gap, channels)
    canvas = np.full(shape, 255, np.uint8)
    for index, image in enumerate(images):
        top = (index // columns) * row_height + gap
        left = margin + (index % columns) * column_width + gap
        canvas[top + above :, left:][:height, :width] = np.round(image * 255)
        if captions is not None:
            canvas[top:, left:][:above, :width] = _text(captions[index], above, width, text_scale)
    for row, label in enumerate(row_labels or ()):
        top = row * row_height + gap + above
        canvas[top:, gap:][:height, :margin] = _text(label, height, margin, text_scale)
    return canvas


def in_pairs_of_rows(above: np.ndarray, below: np.ndarray, columns: int) -> np.ndarray:
    """Orders two sets of images so that a grid shows each row of one above the same row of the other.

    Args:
      above: `[n, H, W, C]`.
      below: the same.
      columns: of the grid; unused places become white.

    Returns:
      `[2·rows·columns, H, W, C]`.
    """
    missing = -len(above) % columns
    rows = [
        np.pad(each, [(0, missing), (0, 0), (0, 0), (0, 0)], constant_values=1.0).reshape(
            -1, columns, *np.shape(each)[1:]
        )
        for each in (above, below)
    ]
    return np.stack(rows, axis=1).reshape(-1, *np.shape(above)[1:])


def enlarge(images: np.ndarray, columns: int) -> np.ndarray:
    """Repeats the pixels of small images, so that a grid of them is 500 to 1000 pixels wide.

    Args:
      images: `[…, H, W, C]`.
      columns: the number of columns of that grid.

    Returns:
      `[…, k·H, k·W, C]` with an integer k of at least 1.
    """
    factor = max(1, round(_USUAL_WIDTH / (columns * images.shape[-2])))
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def rows(
    images: np.ndarray, row_labels: Sequence[str] | None = None, shown_width: int | None = None
) -> np.ndarray:
    """Draws `[k, s, H, W, C]`, enlarged, as k rows of s images; see `grid`.

    Args:
      images: `[k, s, H, W, C]`.
      row_labels: a text for each row, or None.
      shown_width: the width at which the labels must be readable; None for that of the picture.
    """
    columns = images.shape[1]
    # Few columns of many rows would be pages long.
    enlarged = enlarge(images.reshape(-1, *images.shape[2:]), max(columns, len(images) // 2))
    scale = 1 if shown_width is None else max(1, round(columns * enlarged.shape[-2] / shown_width))
    return grid(enlarged, columns, row_labels=row_labels, text_scale=scale)


def frames(images: np.ndarray, captions: Sequence[str] | None = None) -> list[np.ndarray]:
    """Draws `[k, s, H, W, C]`, enlarged, as an animation of k images at once.

    The animation runs through s grids and back; returns 2·s − 2 of them, see `grid`.
    """
    columns = math.ceil(math.sqrt(1.5 * len(images)))  # The grid is 1.5 times as wide as it is high.
    enlarged = enlarge(images, columns)
    there = [grid(enlarged[:, step], columns, captions=captions) for step in range(images.shape[1])]
    return there + there[-2:0:-1]


def write_png(path: pathlib.Path, pixels: npt.ArrayLike) -> None:
    """Writes uint8 `[H, W, 1 or 3]` as a PNG file, whole or not at all."""
    with files.writing(path) as file:
        file.write(tf.io.encode_png(pixels).numpy())


def write_gif(
    path: pathlib.Path, frames: np.ndarray | Sequence[np.ndarray], seconds_per_frame: float
) -> None:
    """Writes a looping animation as a GIF file, whole or not at all.

    Grey levels are kept exactly, and so are colours if all frames together have at most
    256 of them. More colours are rounded to the best 256, which are the same in each frame.
    Nothing is dithered.

    Args:
      path: of the file.
      frames: uint8 `[n, H, W, 1 or 3]`, or a list of `[H, W, 1 or 3]`.
      seconds_per_frame: how long each is shown, in steps of 0.01 s.
    """
    first, *others = _with_palette(np.asarray(frames))
    with files.writing(path) as file:
        first.save(
            file,
            format="GIF",
            save_all=True,
            append_images=others,
            duration=round(1000 * seconds_per_frame),
            loop=0,
            optimize=False,  # Pillow's optimized palettes change colours by a few levels.
        )


def _shown_channels(images: np.ndarray) -> np.ndarray:
    if images.shape[-1] in (1, 3):
        return images
    return images[..., :1] if images.shape[-1] == 2 else images[..., :3]


def _with_palette(frames: np.ndarray) -> list[Image.Image]:
    """Makes Pillow images of `[n, H, W, 1 or 3]`, with one palette for all."""
    count, height, width, channels = frames.shape
    if channels == 1:
        return [Image.fromarray(frame[..., 0]) for frame in frames]
    # As one tall picture: if each frame had its own palette, parts that stand still would flicker.
    tall = Image.fromarray(frames.reshape(count * height, width, 3))
    tall = tall.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return [tall.crop((0, top, width, top + height)) for top in range(0, count * height, height)]


@functools.lru_cache(maxsize=256)  # The captions of an animation are the same in each frame.
def _text(text: str, height: int, width: int, scale: int) -> np.ndarray:
    """Draws a line of text, black on white, in the middle of uint8 `[height, width, 1]`."""
    picture = Image.new("L", (width, height), 255)
    font = ImageFont.load_default(size=scale * _TEXT_SIZE)
    ImageDraw.Draw(picture).text((width // 2, height // 2), text, fill=0, font=font, anchor="mm")
    return np.asarray(picture)[..., None]
