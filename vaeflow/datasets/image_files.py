"""Says what a folder of images holds before a model is trained on it: its splits, its files, its damage.

Nothing is left out without a word: links to one file, copies, damaged files, and files of other formats
are counted and named.
"""

import collections
import concurrent.futures
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from absl import logging

from vaeflow.datasets import image_health
from vaeflow.datasets.regular_files import read_regular
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.runs import watchdog

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")

# The usual names of the folder of each split, in small letters.
_FOLDER_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "evaluation": ("evaluation", "eval", "test", "testing"),
}
# What systems and programs leave among the files of people, in small letters.
_LITTER_FOLDERS = {"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "thumbnails"}
_LITTER_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db"}
_MOST_NAMED = 10


def split_folders(folder: pathlib.Path, chosen: Mapping[str, str]) -> dict[str, pathlib.Path]:
    """Finds the sub-folders that are the splits.

    Args:
      folder: the folder of all images.
      chosen: the names of the sub-folders that the user set, by split; the others are recognized.

    Returns:
      The folder of each split that has one: `train` and `evaluation`, and `validation` if there is one too;
      empty if there are no such sub-folders. If only one folder is for validation or evaluation, it is
      the evaluation's.

    Raises:
      ConfigurationError: several sub-folders could be one split, or a chosen one does not exist.
    """
    found = {}
    for split, names in _FOLDER_NAMES.items():
        if split in chosen:
            found[split] = folder / chosen[split]
            if not found[split].is_dir():
                raise ConfigurationError(
                    f"`ImageFolder.split_folders` must name folders in {folder}, got {chosen[split]!r}"
                )
            continue
        candidates = [path for path in _folders(folder) if path.name.lower() in names]
        if len(candidates) > 1:
            listed = ", ".join(path.name for path in candidates)
            raise ConfigurationError(
                f"{folder} has several folders that could be for {split}: {listed}; choose with "
                f"`ImageFolder.split_folders`, for instance {{{split!r}: {candidates[0].name!r}}}"
            )
        if candidates:
            found[split] = candidates[0]
    if "validation" in found and "evaluation" not in found:
        found["evaluation"] = found.pop("validation")
    return found if {"train", "evaluation"} <= found.keys() else {}


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


class ImageFiles:
    """The image files of a folder, each real file once.

    Args:
      folder: the folder of all images.
      roots: the folder of each split, as `split_folders` gives them; empty for one folder of all.
      fraction: the part that is held out if there are no such folders.

    Attributes:
      paths: the paths of each split, sorted: name -> list of str.
    """

    def __init__(self, folder: pathlib.Path, roots: dict[str, pathlib.Path], fraction: float):
        self._folder = folder
        self._notes: dict[str, list[str]] = collections.defaultdict(list)
        self._seen: set[tuple[int, int]] = set()
        if roots:
            # A file of several splits is not trained on.
            order = [split for split in ("evaluation", "validation", "train") if split in roots]
            self.paths = {split: list(self._files(roots[split])) for split in order}
            for split in order[:-1]:
                text = f"training files are copies of those for {split}"
                self._note_copies(self.paths[split], self.paths["train"], text)
        else:
            self.paths = self._held_out(list(self._files(folder)), fraction)
        for text, paths in self._notes.items():
            logging.warning("%s: %d %s: %s", folder, len(paths), text, listing(paths))

    def _files(self, root: pathlib.Path) -> Iterator[str]:
        """Yields the paths of the images below a folder, sorted."""
        folders_seen = set()
        for parent, folders, files in os.walk(root, followlinks=True):
            watchdog.progress(f"the search for images in {parent}")
            state = os.stat(parent)  # noqa: PTH116 A string takes a tenth of a Path's memory.
            if (state.st_dev, state.st_ino) in folders_seen:
                folders[:] = []
                continue
            folders_seen.add((state.st_dev, state.st_ino))
            folders[:] = sorted(name for name in folders if not _is_litter(name, _LITTER_FOLDERS))
            for name in sorted(files):
                if not _is_litter(name, _LITTER_FILES):
                    path = os.path.join(parent, name)  # noqa: PTH118
                    if self._is_image(path):
                        yield path

    def _is_image(self, path: str) -> bool:
        if not path.lower().endswith(SUFFIXES):
            self._notes["files are no images and are left out"].append(path)
            return False
        try:
            state = os.stat(path)  # noqa: PTH116
        except OSError:
            self._notes["links lead nowhere and are left out"].append(path)
            return False
        if (state.st_dev, state.st_ino) in self._seen:
            self._notes["links to a file that is counted already are left out"].append(path)
            return False
        self._seen.add((state.st_dev, state.st_ino))
        return True

    def _held_out(self, paths: list[str], fraction: float) -> dict[str, list[str]]:
        """Lets each path decide whether it is held out; a copy follows the first file of its content."""
        first_of = {copy: group[0] for group in _copies(paths) for copy in group[1:]}
        if first_of:
            self._notes["files are copies of others, and in the same split"].extend(sorted(first_of))
        splits: dict[str, list[str]] = {"train": [], "evaluation": []}
        for path in paths:
            relative = pathlib.PurePath(os.path.relpath(first_of.get(path, path), self._folder)).as_posix()
            digest = hashlib.sha256(os.fsencode(relative)).digest()
            is_held_out = int.from_bytes(digest[:8], "big") < fraction * 2**64
            splits["evaluation" if is_held_out else "train"].append(path)
        return splits

    def _note_copies(self, one: Sequence[str], other: Sequence[str], text: str) -> None:
        own = set(other)
        for group in _copies([*one, *other]):
            inside = [path for path in group if path in own]
            if len(inside) < len(group):
                self._notes[text].extend(inside)


def intact(
    paths: Sequence[str], skips_damaged: bool, least_size: tuple[int, ...] | None = None
) -> tuple[list[str], str]:
    """Checks all files of a split, in parallel and without decoding those that look whole.

    Args:
      paths: the files.
      skips_damaged: whether to leave damaged files out; False refuses them.
      least_size: the height and width of a `RandomCrop` of these images in their own sizes; None
        for any size.

    Returns:
      The paths of the intact files, and a digest of names, sizes and the ends of the files.

    Raises:
      DataError: files are damaged and must not be skipped, or images are too small; the message
        names the first.
    """
    if not paths:
        return [], ""
    root = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    digest = hashlib.sha256()
    damaged, small, kept = [], [], []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, health in zip(paths, pool.map(image_health.examine, paths), strict=True):
            watchdog.progress(f"the check of the images, after {path}")
            if health.problem is None:
                kept.append(path)
                if least_size is not None and _is_smaller(health.size, least_size):
                    small.append(f"{path} ({health.size[0]}x{health.size[1]} pixels)")
            else:
                damaged.append(f"{path} ({health.problem})")
            digest.update(os.fsencode(os.path.relpath(path, root)) + b"\0" + health.digest)
    if damaged and not skips_damaged:
        raise DataError(
            f"{len(damaged)} of {len(paths)} files cannot be decoded as images: {listing(damaged)}; replace "
            'or remove them, or set `ImageFolder.damaged` to "skip" to train without them'
        )
    if damaged:
        logging.warning(
            "%d of %d files are damaged and skipped: %s", len(damaged), len(paths), listing(damaged)
        )
    if least_size is not None and small:
        raise DataError(
            f"{len(small)} of {len(paths)} images are smaller than `RandomCrop.size`, "
            f"{least_size[0]}x{least_size[1]}: {listing(small)}; remove them, make the crop smaller, or "
            f"scale the shorter side of all images: `ImageFolder.image_size` = {max(least_size)}"
        )
    return kept, digest.hexdigest()


def _is_smaller(size: Sequence[int], least_size: Sequence[int]) -> bool:
    """Whether an image is too small, however it is turned."""
    return min(size) < min(least_size) or max(size) < max(least_size)


def _copies(paths: Sequence[str]) -> list[list[str]]:
    """Finds files of equal content: groups of at least two, in the order of `paths`."""
    groups: list[Iterable[str]] = [paths]
    for key in (os.path.getsize, _content_digest):
        divided = collections.defaultdict(list)
        for group in groups:
            listed = list(group)
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                for path, value in zip(listed, pool.map(key, listed), strict=True):
                    watchdog.progress(f"the search for copies, after {path}")
                    divided[value].append(path)
        groups = [group for group in divided.values() if len(group) > 1]
    return [list(group) for group in groups]


def _content_digest(path: str) -> bytes:
    return hashlib.sha256(read_regular(path)).digest()


def _is_litter(name: str, known: set[str]) -> bool:
    return name.startswith(".") or name.lower() in known


def listing(names: Sequence[str]) -> str:
    """Lists names for a message, the first few of many."""
    shown = ", ".join(names[:_MOST_NAMED])
    return shown + (f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else "")
