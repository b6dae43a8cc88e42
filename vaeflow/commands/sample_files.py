"""The files of `sample`: pictures, animations and the arrays."""

import pathlib

import numpy as np

from vaeflow.analysis import grids, traversals
from vaeflow.analysis.labels import columns_of_samples
from vaeflow.runs import files, paths

_COLUMNS = 8
_FOLDER = "samples"

Arrays = dict[str, np.ndarray]


def write(workdir: pathlib.Path, arrays: Arrays, seconds_per_frame: float) -> list[pathlib.Path]:
    """Writes all files or none, and returns their paths."""
    pictures = _pictures(arrays)
    folder = paths.inside(workdir, _FOLDER)
    with files.staging(workdir, _FOLDER) as unfinished:
        for name, pixels in pictures.items():
            if name.endswith(".gif"):
                grids.write_gif(unfinished / name, pixels, seconds_per_frame)
            else:
                grids.write_png(unfinished / name, pixels)
        np.savez_compressed(unfinished / "samples.npz", allow_pickle=False, **arrays)
        files.make_folder(folder)
        written = [folder / name for name in (*pictures, "samples.npz")]
        for path in written:
            files.move(unfinished / path.name, path)
    return written


def _pictures(arrays: Arrays) -> dict[str, np.ndarray | list[np.ndarray]]:
    """Draws the grids: file name -> pixels, or a list of frames for an animation; nothing of a table."""
    if not all(
        grids.can_show(drawn.shape[-3:]) for name, drawn in arrays.items() if name.endswith("_images")
    ):
        return {}
    pictures = {}
    for name, drawn in arrays.items():
        if name.startswith("samples_") and name.endswith("_images"):
            sampler = name.removeprefix("samples_").removesuffix("_images")
            columns = columns_of_samples(arrays.get("samples_labels"), _COLUMNS)
            pictures[f"samples-{sampler}.png"] = grids.grid(grids.enlarge(drawn, columns), columns)
    if "reconstruction_inputs" in arrays:
        inputs, images = arrays["reconstruction_inputs"], arrays["reconstruction_images"]
        rows = grids.in_pairs_of_rows(inputs, images, _COLUMNS)
        pictures["reconstructions.png"] = grids.grid(grids.enlarge(rows, _COLUMNS), _COLUMNS)
    if "reconstruction_group_images" in arrays:
        inputs = arrays["reconstruction_inputs"][:, None]
        rows = np.concatenate([inputs, arrays["reconstruction_group_images"]], axis=1)
        pictures["reconstructions-groups.png"] = grids.rows(rows)
    for path in traversals.PATHS if "interpolation_indices" in arrays else ():
        drawn = arrays[f"interpolation_{path}_images"]
        pictures[f"interpolations-{path}.png"] = grids.rows(drawn)
        pictures[f"interpolations-{path}.gif"] = grids.frames(drawn)
    if "traversal_dimensions" in arrays:
        labels = traversal_labels(arrays)
        pictures["traversals.png"] = grids.rows(arrays["traversal_images"], row_labels=labels)
        pictures["traversals.gif"] = grids.frames(arrays["traversal_images"], captions=labels)
    return pictures


def traversal_labels(arrays: Arrays) -> list[str]:
    """Returns the index of each traversed latent, and its KL in nats where it is known."""
    return traversals.row_labels(arrays["traversal_dimensions"], arrays.get("traversal_kl"))
