"""Where libraries and child processes put their temporary files."""

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

from vaeflow.runs import files

_TEMPORARY = "TMPDIR"


@contextlib.contextmanager
def kept_in(parent: Path) -> Generator[None]:
    """Keeps the temporary files of libraries and of child processes in a folder that goes with the block.

    So they are found, and removed, also after this process was killed.

    Args:
      parent: where the folder is made.
    """
    before = tempfile.tempdir, os.environ.get(_TEMPORARY)
    with files.staging(parent, "temporary") as folder:
        tempfile.tempdir = os.environ[_TEMPORARY] = str(folder.absolute())
        try:
            yield
        finally:
            tempfile.tempdir = before[0]
            os.environ.pop(_TEMPORARY)
            os.environ |= {} if before[1] is None else {_TEMPORARY: before[1]}
