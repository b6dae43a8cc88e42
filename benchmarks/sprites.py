"""Draws the arrays that every program of the comparison trains on, so that nothing is downloaded.

    python -m benchmarks.sprites

writes them below benchmarks/.cache, once; the gin files in benchmarks/workloads read them there.
"""

import pathlib

import numpy as np

CACHE = pathlib.Path("benchmarks/.cache")
NUM_EVALUATION = 1024

# Name -> images, side, channels. Multiples of every batch size, so that all batches are full.
ARRAYS = {
    "sprites_28": (59_904, 28, 1),
    "sprites_64": (20_480, 64, 1),
    "sprites_64_rgb": (5_120, 64, 3),
}


def array_path(name):
    """Returns the file of an array of `ARRAYS`."""
    return CACHE / f"{name}.npy"


def make(name):
    """Writes an array and one for evaluation, uint8 `[N, S, S, C]`, unless they exist."""
    num_images, side, channels = ARRAYS[name]
    for path, split, count in (
        (array_path(name), "train", num_images),
        (array_path(f"{name}_evaluation"), "evaluation", NUM_EVALUATION),
    ):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".unfinished")
            with unfinished.open("wb") as file:
                np.save(file, _draw(split, count, side, channels))
            # Renamed only when complete, so that an interrupted run leaves no broken array.
            unfinished.rename(path)


def _draw(split, count, side, channels):
    """Draws `count` sprites from all over the grid: white on black, or each in its own colour."""
    import tensorflow as tf

    from vaeflow.datasets import RenderedSprites

    sprites = RenderedSprites(image_size=side).load(split)
    random = np.random.default_rng(0)
    indices = random.choice(sprites.num_examples, count, replace=False)
    images = np.concatenate(
        [sprites.examples(tf.constant(part)).numpy() for part in np.split(indices, count // 256)]
    )
    if channels == 1:
        return images
    colours = random.integers(64, 256, (count, 1, 1, channels), dtype=np.uint8)
    return np.where(images > 0, colours, np.uint8(0))


if __name__ == "__main__":
    for array in ARRAYS:
        make(array)
        print(array_path(array))
