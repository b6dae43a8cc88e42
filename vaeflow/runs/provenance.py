"""What a run was made with: command, versions, revision, machine."""

import os
import pathlib
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from vaeflow.runs import machine, processes

_PACKAGES = ("vaeflow", "tensorflow", "keras", "numpy", "gin-config", "tensorboard")


def describe(facts: Mapping[str, str]) -> dict[str, Any]:
    """Returns the content of `environment.json`, with further facts about the run."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_revision": git_revision(),
        "machine": machine.describe(),
        **facts,
    }


def git_revision() -> str | None:
    """Returns the revision of the running code, with `+changes` if the tree was edited; or None.

    vaeflow may be installed somewhere inside a repository of its user, which says nothing of it: only
    a repository that tracks this very file counts.
    """
    source = pathlib.Path(__file__)
    if not _git(source.parent, "ls-files", "--error-unmatch", "--", source.name):
        return None
    return _git(source.parent, "describe", "--always", "--abbrev=40", "--dirty=+changes")


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    """Returns what a command of git prints; None if it fails."""
    # A hook of git names its own repository there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    found = processes.output(["git", "-C", str(folder), *arguments], 10, environment)
    return found and (found.strip() or None)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
