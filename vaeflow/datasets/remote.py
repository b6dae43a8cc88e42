"""Files and folders that settings of datasets name, here or behind a URL such as `gs://bucket/images`.

What is behind a URL is copied into a local cache when it is first read; see `remote_cache`. No code of the
remote folder runs: bytes are copied, and decoded as those of local files.
"""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from vaeflow import validation
from vaeflow.datasets import remote_cache
from vaeflow.errors import ConfigurationError
from vaeflow.runs.escaping import without_passwords
from vaeflow.runs.remote_folder import RemoteFolder, check_url

_URL = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*://")
_PATTERN = re.compile(r"[*?\[]")


def is_url(given: object) -> bool:
    """Whether a setting names something that is not on this machine."""
    return isinstance(given, str) and _URL.match(given) is not None


class Source:
    """A file or a folder that a setting of a dataset names.

    Args:
      setting: the setting, for messages.
      given: its value: a path or a URL.
      is_file: whether it names a file.

    Attributes:
      url: the URL; None for a path.

    Raises:
      ConfigurationError: it is no URL, or the library for it is missing.
      ValueError: it can name no file here.
    """

    def __init__(self, setting: str, given: Any, is_file: bool = False):
        self._setting = setting
        self._is_file = is_file
        self.url = check_url(setting, given).rstrip("/") if is_url(given) else None
        self._local = validation.path(setting, given) if self.url is None else None
        if is_file and self.url is not None and self.url.count("/") < 3:
            raise ConfigurationError(f"`{setting}` must be the URL of a file, got {self}")

    def __str__(self) -> str:
        return without_passwords(self.url or str(self._local))

    @property
    def suffix(self) -> str:
        """The suffix of the file, in small letters."""
        return pathlib.PurePath(self.url or self._local or "").suffix.lower()

    def is_missing(self) -> bool:
        """Whether it ought to be here and is not; what is behind a URL is looked at when it is read."""
        if self._local is None:
            return False
        return not (self._local.is_file() if self._is_file else self._local.is_dir())

    def is_same(self, other: Source) -> bool:
        """Whether both are one file or folder; of URLs, whether these are equal."""
        if self.url is not None or other.url is not None:
            return self.url == other.url
        return self.path.samefile(other.path)

    @functools.cached_property
    def path(self) -> pathlib.Path:
        """The path on this machine; what is behind a URL is copied first.

        Raises:
          EnvironmentFailure: it cannot be copied; a `DataError` if the data is the reason.
        """
        if self._local is not None:
            return self._local
        assert self.url is not None
        parent, _, name = self.url.rpartition("/")
        if self._is_file:
            remote = RemoteFolder(self._setting, parent)
            return remote_cache.copied(remote, lambda: remote.some([name]), str(self)) / name
        remote = RemoteFolder(self._setting, self.url)
        return remote_cache.copied(remote, remote.files, str(self), name) / name


def checked_pattern(setting: str, pattern: Any) -> str:
    """Returns a pattern of files: a local one with `~` expanded, or a URL.

    Raises:
      ConfigurationError, ValueError: as for `Source`.
    """
    return check_url(setting, pattern) if is_url(pattern) else str(validation.path(setting, pattern))


def matching(setting: str, pattern: str) -> list[str]:
    """Copies the files that match a URL, and returns their local paths.

    Args:
      setting: the setting, for messages.
      pattern: the URL. From its first part with one of `*?[` on, it is a pattern as for fsspec's `glob`,
        unless a file has just this name.

    Raises:
      EnvironmentFailure: as for `Source.path`.
    """
    parts = pattern.split("/")
    first = next((place for place, part in enumerate(parts) if _PATTERN.search(part)), len(parts) - 1)
    remote, rest = RemoteFolder(setting, "/".join(parts[:first])), "/".join(parts[first:])
    names: list[str] = []

    def listed() -> Mapping[str, Mapping[str, Any]]:
        found = remote.some([rest]) or remote.matching(rest)
        names[:] = sorted(found)
        return found

    folder = remote_cache.copied(remote, listed, without_passwords(pattern))
    return [str(folder / name) for name in names]
