"""The checks of a path before anything is read or written there."""

import errno
import os
import re
from pathlib import Path

from vaeflow.errors import ConfigurationError, EnvironmentFailure

# Of Linux. Files below a folder of the user's have names of their own, and need room for them.
_LONGEST_NAME = 255
_LONGEST_PATH = 4096 - 512
_SHOWN = 80
_ADVICE = {"file://": "write the path without it", "hf://": "fetch it with `vaeflow pull`"}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def local(path: object) -> Path:
    """Returns a path of this machine's file system, with `~` expanded.

    Args:
      path: what the user gave.

    Raises:
      ValueError: it can name no file here; the message is the reason.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        raise ValueError("a path is text")
    if not text:
        raise ValueError("it is empty")
    if "\0" in text:
        raise ValueError("it holds a NUL character, which no file name can")
    if not _is_utf8(text):
        raise ValueError("it is not UTF-8, which TensorFlow needs; rename the file or folder")
    if found := _ADDRESS.match(text):
        advice = _ADVICE.get(found[0], "mount or copy what is there")
        raise ValueError(f"{found[0]} is not for a file of this machine, and others are not read; {advice}")
    try:
        expanded = Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("the home folder that `~` stands for is not known; write it out") from error
    _check_lengths(expanded)
    return expanded


def checked(flag: str, path: object) -> Path:
    """Returns the path that a flag gives; see `local`.

    Args:
      flag: with its dashes, e.g. `--workdir`.
      path: its value.

    Raises:
      ConfigurationError: it can name no file here.
    """
    try:
        return local(path)
    except ValueError as error:
        raise ConfigurationError(f"{flag}={shown(path)}: {error}") from error


def shown(path: object) -> str:
    """Returns a path for a message, without its middle if it is long."""
    text = str(path)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}…{text[-_SHOWN // 2 :]}"


def inside(folder: str | os.PathLike[str], *names: str) -> Path:
    """Returns the path of something in a folder, which no link may lead out of it.

    Whoever passes a folder on may have put links into it: what a command writes stays in the folder
    that its user named.

    Args:
      folder: e.g. a work folder; it may be a link itself.
      *names: of folders, each in the one before; they need not exist.

    Raises:
      EnvironmentFailure: one of them is a link that leads out of `folder`.
    """
    path = Path(folder, *names)
    root, target = os.path.realpath(folder), os.path.realpath(path)
    if not Path(target).is_relative_to(root):
        raise EnvironmentFailure(
            f"{path} is a link that leads out of the work folder, to {target}; remove it, or let the whole "
            "work folder be a link"
        )
    return path


def _is_utf8(text: str) -> bool:
    """Whether Python and TensorFlow make the same bytes of a name."""
    try:
        return os.fsencode(text) == text.encode()
    except UnicodeEncodeError:
        return False


def _check_lengths(path: Path) -> None:
    for part in path.parts:
        if (length := len(part.encode())) > _LONGEST_NAME:
            raise ValueError(f"one of its names has {length} bytes, and file systems take {_LONGEST_NAME}")
    try:
        absolute = os.path.abspath(path)  # noqa: PTH100 -- links stay
    except FileNotFoundError as error:
        raise ValueError("the current folder was deleted; change to another one") from error
    if (length := len(absolute.encode())) > _LONGEST_PATH:
        raise ValueError(f"it has {length} bytes, and at most {_LONGEST_PATH} leave room for the files in it")
    try:
        os.lstat(path)
    except OSError as error:
        # Some file systems take less; links may lead in a circle. Whether it exists is for others to say.
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
            raise ValueError(os.strerror(error.errno)) from error
