"""Arranges images in grids and writes them as PNG files and animated GIFs."""

import functools
import math

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw, ImageFont

from vaeflow.runs import files

_USUAL_WIDTH = 750  # Pixels; what a grid of small images is enlarged to, roughly.
_TEXT_SIZE = 13
_CAPTION_HEIGHT = 18
_LABEL_WIDTH = 76


def grid(images, columns, gap=2, row_labels=None, captions=None):
    """Arranges images in a grid on a white ground.

    Args:
      images: floats `[n, H, W, C]`, clipped to [0, 1].
      columns: the number of images in a row.
      gap: pixels between them.
      row_labels: a text for each row, written in a margin left of it; None for no
        margin.
      captions: a text for each image, written above it; None for none.

    Returns:
      uint8 `[rows·(H + gap) + gap, columns·(W + gap) + gap, 1 or 3]`; wider by the
      margin, and higher by a line of text for each row, where there are texts.
    """
    images = _shown_channels(np.clip(np.asarray(images, np.float32), 0.0, 1.0))
    count, height, width, channels = images.shape
    above, margin = _CAPTION_HEIGHT * (captions is not None), _LABEL_WIDTH * (row_labels is not None)
    row_height, column_width = height + above + gap, width + gap
    shape = (-(-count // columns) * row_height + gap, margin + columns * column_width + gap, channels)
    canvas = np.full(shape, 255, np.uint8)
    for index, image in enumerate(images):
        top = (index // columns) * row_height + gap
        left = margin + (index % columns) * column_width + gap
        canvas[top + above :, left:][:height, :width] = np.round(image * 255)
        if captions is not None:
            canvas[top:, left:][:above, :width] = _text(captions[index], above, width)
    for row, label in enumerate(row_labels or ()):
        top = row * row_height + gap + above
        canvas[top:, gap:][:height, :margin] = _text(label, height, margin)
    return canvas


def in_pairs_of_rows(above, below, columns):
    """Orders two sets of images so that a grid shows each row of one above the same of the other.

    Args:
      above: `[n, H, W, C]`.
      below: the same.
      columns: of the grid; places left over become white.

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


def enlarge(images, columns):
    """Repeats the pixels of small images, so that a grid of them is 500 to 1000 pixels wide.

    Args:
      images: `[…, H, W, C]`.
      columns: of the grid that they are for.

    Returns:
      `[…, k·H, k·W, C]` with an integer k of at least 1.
    """
    factor = max(1, round(_USUAL_WIDTH / (columns * images.shape[-2])))
    return images.repeat(factor, axis=-3).repeat(factor, axis=-2)


def rows(images, row_labels=None):
    """Draws `[k, s, H, W, C]`, enlarged, as k rows of s images; see `grid`."""
    columns = images.shape[1]
    return grid(enlarge(images.reshape(-1, *images.shape[2:]), columns), columns, row_labels=row_labels)


def frames(images, captions=None):
    """Draws `[k, s, H, W, C]`, enlarged, as an animation of k images at once.

    It goes through s grids there and back; returns 2·s − 2 of them, see `grid`.
    """
    columns = math.ceil(math.sqrt(1.5 * len(images)))  # Half as wide again as it is high.
    enlarged = enlarge(images, columns)
    there = [grid(enlarged[:, step], columns, captions=captions) for step in range(images.shape[1])]
    return there + there[-2:0:-1]


def write_png(path, pixels):
    """Writes uint8 `[H, W, 1 or 3]` as a PNG file, whole or not at all."""
    with files.writing(path) as file:
        file.write(tf.io.encode_png(pixels).numpy())


def write_gif(path, frames, seconds_per_frame):
    """Writes a looping animation as a GIF file, whole or not at all.

    Grey levels are kept, and so are colours where all frames together have at most
    256; more are rounded to the 256 that suit them best, the same in each frame,
    and nothing is dithered.

    Args:
      path: of the file.
      frames: uint8 `[n, H, W, 1 or 3]`, or a list of such.
      seconds_per_frame: how long each is shown; the format counts in 0.01 s.
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


def _shown_channels(images):
    if images.shape[-1] in (1, 3):
        return images
    return images[..., :1] if images.shape[-1] == 2 else images[..., :3]


def _with_palette(frames):
    """Makes Pillow's images of `[n, H, W, 1 or 3]`, with one palette for all."""
    count, height, width, channels = frames.shape
    if channels == 1:
        return [Image.fromarray(frame[..., 0]) for frame in frames]
    # As one tall picture: with a palette for each, parts that stand still would flicker.
    tall = Image.fromarray(frames.reshape(count * height, width, 3))
    tall = tall.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return [tall.crop((0, top, width, top + height)) for top in range(0, count * height, height)]


@functools.lru_cache(maxsize=256)  # The captions of an animation are the same in each frame.
def _text(text, height, width):
    """Draws a line of text, black on white, in the middle of uint8 `[height, width, 1]`."""
    picture = Image.new("L", (width, height), 255)
    font = ImageFont.load_default(size=_TEXT_SIZE)
    ImageDraw.Draw(picture).text((width // 2, height // 2), text, fill=0, font=font, anchor="mm")
    return np.asarray(picture)[..., None]
