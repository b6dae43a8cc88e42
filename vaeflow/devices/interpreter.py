"""The Python interpreter: where it imports from, and how to start another one."""

import os
import sys

_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 -- see below

# This module runs before the import path is mended, so it imports nothing that a file of the
# current folder could hide (`pathlib.py`, say).


def leave_current_folder() -> None:
    """Stops importing from the current folder, which `python -m` puts first on the path.

    There, a folder `absl` or a file `json.py` would hide the library of that name. A clone
    that is not installed is itself found in the current folder, which then moves to the end.
    """
    folder = _current_folder()
    if folder is not None and not sys.flags.safe_path and sys.path[:1] == [folder]:
        leave_folder(folder)


def leave_folder(folder: str) -> None:
    """Takes a folder off the import path, or moves it to the end if vaeflow itself lies in it."""
    if folder in sys.path:
        sys.path.remove(folder)
        if folder == _HOME:
            sys.path.append(folder)


def command(module: str, *arguments: str) -> list[str]:
    """Returns the command line that runs one of vaeflow's modules in a new process.

    Like this process, it imports nothing from the current folder, unless that is a clone.
    """
    isolated = [] if _current_folder() == _HOME else ["-P"]
    return [sys.executable, *isolated, "-m", module, *arguments]


def _current_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return None  # It was deleted.
