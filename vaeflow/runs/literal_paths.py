"""Hands folders to libraries that take a path for a pattern."""

import contextlib
import os
import re
from collections.abc import Generator
from pathlib import Path

_SPECIAL = re.compile(r"[*?\[\]{}\\]")


@contextlib.contextmanager
def literal(folder: Path) -> Generator[Path]:
    r"""Gives a path of a folder that no library takes for a pattern.

    TensorFlow looks for the files of a checkpoint, and of the variables of a SavedModel, by a pattern:
    below a folder `lr[0.1]` it finds none, and below `a*` perhaps those of another folder. A path with
    any of `*?[]{}\` is therefore replaced by one through a descriptor of the folder, which holds no
    character of its name.

    Args:
      folder: an existing folder.

    Yields:
      A path of the folder, valid in this process as long as the block lasts.

    Raises:
      OSError: there is no such folder.
    """
    if not _SPECIAL.search(str(folder)):
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
