"""The Python interpreter: where it may import from, and how to start another one."""

import os
import sys

_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 -- see below
_STANDARD_LIBRARY = os.path.dirname(os.__file__)  # noqa: PTH120
_PACKAGES = ("site-packages", "dist-packages")

# This module runs before the import path is mended, so it imports nothing that a file of the
# current folder could hide (`pathlib.py`, say).


def leave_current_folder() -> None:
    """Stops importing from the current folder.

    `python -m` and `python -c` put it first on the path, `PYTHONPATH` may name it in many
    ways. There, a folder `absl` or a file `json.py` would hide the library of that name. A
    clone that is not installed is itself found in the current folder, which then moves to the
    end; so does a folder in which Python keeps its packages.
    """
    folder = _current_folder()
    if folder is not None:
        leave_folder(folder)
        _clean_environment(folder)


def leave_folder(folder: str) -> None:
    """Takes a folder off the import path, or moves it to the end if vaeflow or Python keeps modules in it."""
    kept = [entry for entry in sys.path if not _names(entry, folder)]
    if len(kept) < len(sys.path) and (_names(_HOME, folder) or _keeps_packages(folder)):
        kept.append(folder)
    sys.path[:] = kept


def _clean_environment(folder: str) -> None:
    """Takes a folder out of `PYTHONPATH`, which the processes that this one starts will read."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in named if not _names(entry, folder) or _names(_HOME, folder)]
    if len(kept) < len(named):
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
        if not any(kept):
            del os.environ["PYTHONPATH"]


def installed_path() -> list[str]:
    """Returns the entries of the import path whose packages count as installed: not the current folder."""
    folder = _current_folder()
    if folder is None or _keeps_packages(folder):
        return list(sys.path)
    return [entry for entry in sys.path if not _names(entry, folder)]


def with_utf8(environment: dict[str, str]) -> dict[str, str]:
    """Adds Python's UTF-8 mode to an environment, if names of files have another encoding here.

    In such a locale (`LC_ALL=C PYTHONUTF8=0`, or one in Latin-1) Python and TensorFlow would
    write one name as different bytes. The streams keep the encoding of the locale.

    Args:
      environment: the variables.

    Returns:
      A new dict.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return environment
    streams = f"{sys.stdout.encoding if sys.stdout else 'utf-8'}:replace"
    return {"PYTHONIOENCODING": streams, **environment, "PYTHONUTF8": "1"}


def command(module: str, *arguments: str) -> list[str]:
    """Returns the command line that runs one of vaeflow's modules in a new process.

    Like this process, it imports nothing from the current folder, unless that is a clone:
    this module runs first there, and mends the path (`python -m vaeflow.runs.interpreter`).
    """
    # Where vaeflow is found in the current folder only, `-P` would hide it.
    folder = _current_folder()
    isolated = [] if folder is not None and _names(_HOME, folder) else ["-P"]
    return [sys.executable, *isolated, "-m", __name__, module, *arguments]


def vaeflow_folder() -> str:
    """Returns the folder from which vaeflow is imported."""
    return _HOME


def _current_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return None  # It was deleted.


def _names(entry: str, folder: str) -> bool:
    """Whether an entry of the path leads to a folder: absolutely, relatively, as "" or over links."""
    try:
        return os.path.samefile(entry or os.curdir, folder)  # noqa: PTH121
    except OSError:
        return entry == folder


def _keeps_packages(folder: str) -> bool:
    """Whether it is one of the folders in which Python itself keeps modules."""
    return os.path.basename(folder) in _PACKAGES or folder.startswith(_STANDARD_LIBRARY)  # noqa: PTH119


def _run() -> None:
    leave_current_folder()
    import runpy  # From the mended path.

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run()
