"""What a run was made with: command, versions, revision, machine."""

import hashlib
import os
import pathlib
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from vaeflow.runs import escaping, interpreter, machine, processes

_PACKAGES = ("vaeflow", "tensorflow", "keras", "numpy", "gin-config", "tensorboard")


def describe(facts: Mapping[str, str]) -> dict[str, Any]:
    """Returns the content of `environment.json`, with further facts about the run."""
    return {
        "command": [escaping.without_passwords(argument) for argument in sys.argv],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_revision": git_revision(),
        "machine": machine.describe(),
        **facts,
    }


def code_digests(plugins: Iterable[str]) -> dict[str, str]:
    """Returns the SHA-256 of the Python files of vaeflow and of plug-ins: name -> hexadecimal digits.

    It tells code that was edited, or installed without git, which a revision does not. A plug-in is its
    own file, or where that is the `__init__.py` of a package, all files below its folder.

    Args:
      plugins: the names of imported modules.
    """
    digests = {"vaeflow": _files_sha256(pathlib.Path(interpreter.vaeflow_folder()) / "vaeflow")}
    for name in plugins:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            path = pathlib.Path(file)
            digests[name] = _files_sha256(path.parent if path.name == "__init__.py" else path)
    return digests


def _files_sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of the names and the content of a Python file, or of all below a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(path).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def git_revision() -> str | None:
    """Returns the revision of the running code, with `+changes` if the code was edited; or None.

    vaeflow may be installed somewhere inside a repository of its user, which says nothing of it: only
    a repository that tracks this very file counts. Of its other files, such as records of runs, none do.
    """
    source = pathlib.Path(__file__)
    if not _git(source.parent, "ls-files", "--error-unmatch", "--", source.name):
        return None
    revision = _git(source.parent, "describe", "--always", "--abbrev=40")
    package = source.parents[1]
    changes = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{revision}+changes" if revision and changes else revision


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    """Returns what a command of git prints; None if it fails.

    It must write nothing: `describe --dirty` renews the index of the repository, and leaves its lock
    there if it is killed or the disk is full.
    """
    # A hook of git names its own repository there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    found = processes.output(["git", "--no-optional-locks", "-C", str(folder), *arguments], 10, environment)
    return found and (found.strip() or None)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
