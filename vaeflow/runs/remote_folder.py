"""A folder that fsspec reaches, such as `gs://bucket/runs`: files are written whole, with a few tries.

Object stores keep a file whole or not at all. Where a file can be given another name (a local disk, SFTP), it
is written under one first. Credentials are the library's business: it finds them as the tools of the store
do, in the environment, in files of the user or in the URL.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib.util
import pathlib
import re
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from vaeflow.errors import ConfigurationError, EnvironmentFailure, RunError
from vaeflow.runs import files
from vaeflow.runs.escaping import without_passwords

T = TypeVar("T")

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_UNFINISHED = ".unfinished-"
# Between the tries; the libraries of object stores make several of their own in each.
_PAUSES = (1.0, 4.0)
_LONGEST_NAME = 255
_CHAIN = "::"
_OF_OUR_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


def check_url(setting: str, url: Any) -> str:
    """Returns a URL that some installed library reads; nothing is connected.

    Args:
      setting: the setting that names it, for messages.
      url: what arrived.

    Raises:
      ConfigurationError: it is no URL, or the library is missing.
    """
    found = _PROTOCOL.fullmatch(url) if isinstance(url, str) and url.isprintable() else None
    if found is None or not found[2].strip("/") or _CHAIN in found[2]:
        raise ConfigurationError(
            f"`{setting}` must be a URL such as gs://bucket/folder or s3://bucket/folder; got "
            + without_passwords(repr(url))
        )
    _check_protocol(setting, found[1])
    return url


class RemoteFolder:
    """The files below a URL.

    What fails is tried again, three times in all, unless rights are missing.

    Args:
      setting: the setting that names the URL, for messages.
      url: as `check_url` takes it. No part of it is taken for a pattern.

    Attributes:
      report: is called with what is done, and again as it gets on, for a watchdog.

    Raises:
      ConfigurationError: see `check_url`.
    """

    def __init__(self, setting: str, url: str) -> None:
        self.url = check_url(setting, url).rstrip("/")
        self.report = silent

    def __str__(self) -> str:
        return without_passwords(self.url)

    def files(self) -> dict[str, Mapping[str, Any]]:
        """Lists the files below the folder: name, with `/` between its parts -> what the library knows of it.

        It is empty if there is no such folder. What is half-written is left out.

        Raises:
          EnvironmentFailure: it cannot be read, or a name cannot be that of a file on a disk.
        """
        return self._listed(lambda: self._system.find(self._at(), detail=True))

    def matching(self, pattern: str) -> dict[str, Mapping[str, Any]]:
        """Lists the files whose names match a pattern, as fsspec's `glob` does; otherwise as `files`.

        The URL must hold none of `*?[`, which would belong to the pattern.
        """
        return self._listed(lambda: self._system.glob(self._at(pattern), detail=True))

    def some(self, names: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Returns what the library knows of some files, without those that are not there."""

        def known() -> dict[str, Any]:
            found = {}
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    found[self._at(name)] = self._system.info(self._at(name))
            return found

        return self._listed(known)

    def is_concurrent(self) -> bool:
        """Whether several threads may use the folder at once."""
        return bool(self._system.async_impl)

    def read(self, name: str) -> bytes | None:
        """Returns the content of a small file, or None if there is none; raises `EnvironmentFailure`."""
        try:
            return self._tried("read", name, lambda: self._system.cat_file(self._at(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, whole or not at all; raises `EnvironmentFailure`."""
        self._written(name, lambda path: self._system.pipe_file(path, content))

    def put(self, path: pathlib.Path, name: str) -> None:
        """Copies a local file that does not change; otherwise as `write`.

        Raises:
          FileNotFoundError: it is gone.
        """
        progress = self._progress(name)
        self._written(name, lambda place: self._system.put_file(str(path), place, callback=progress), path)

    def get(self, name: str, path: pathlib.Path) -> None:
        """Copies a file here.

        Raises:
          EnvironmentFailure: it cannot be read.
          FileNotFoundError: there is none.
        """
        progress = self._progress(name)

        def action() -> None:
            try:
                self._system.get_file(self._at(name), str(path), callback=progress)
            except OSError as error:
                if error.errno in _OF_OUR_DISK:
                    raise files.failure(path, error) from error
                raise

        self._tried("read", name, action)

    def remove(self, name: str) -> None:
        """Removes a file, if it is there, and a folder that is empty then; raises `EnvironmentFailure`."""
        with contextlib.suppress(FileNotFoundError):
            self._tried("removed", name, lambda: self._system.rm_file(self._at(name)))
        if self._renames():  # An object store has no folders.
            with contextlib.suppress(Exception):  # Each library says in its own way that it is not empty.
                self._system.rmdir(self._at(name).rpartition("/")[0])

    @functools.cached_property
    def _connected(self) -> tuple[Any, str]:
        """The file system, connected when it is first used, and the folder in it."""
        import fsspec

        # Without a cache, since others may write there.
        return fsspec.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)

    @property
    def _system(self) -> Any:
        return self._connected[0]

    def _listed(self, find: Callable[[], dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Returns the files among what the library finds, by their names below the folder."""

        def listed() -> tuple[dict[str, Any], str]:
            self._system.invalidate_cache()
            return find(), self._at()

        try:
            found, root = self._tried("listed", "", listed)
        except FileNotFoundError:
            return {}
        files = {}
        for path, info in found.items():
            name = path.removeprefix(f"{root}/")
            is_file = info.get("type", "file") == "file" and path != root
            if is_file and not name.rpartition("/")[2].startswith(_UNFINISHED):
                files[self._checked(name)] = info
        return files

    def _written(self, name: str, write: Callable[[str], Any], source: pathlib.Path | None = None) -> None:
        def action() -> None:
            if not self._renames():
                write(self._at(name))
                return
            # Next to the folders, so that these hold nothing half-written.
            unfinished = self._at(_UNFINISHED + name.rpartition("/")[2])
            self._system.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
            write(unfinished)
            self._system.mv(unfinished, self._at(name))

        def checked_action() -> None:
            try:
                action()
            except FileNotFoundError as error:
                if source is not None and not source.exists():
                    raise
                raise NotADirectoryError("there is no such bucket or folder") from error

        self._tried("written", name, checked_action)

    def _renames(self) -> bool:
        """Whether the file system can give a file another name in one step.

        An object store cannot, though the library of one may move objects. These are the asynchronous ones.
        """
        import fsspec

        has_own = type(self._system).mv is not fsspec.AbstractFileSystem.mv
        return has_own and not self._system.async_impl

    def _at(self, name: str = "") -> str:
        root = self._connected[1].rstrip("/")
        return f"{root}/{name}" if name else root

    def _tried(self, done: str, name: str, action: Callable[[], T]) -> T:
        what = f"{self}/{name}" if name else str(self)
        self.report(f"{what}, which is being {done}")
        for pause in (*_PAUSES, None):
            try:
                return action()
            except (FileNotFoundError, RunError):
                raise
            except Exception as error:  # Each library raises its own, of many classes.
                if pause is None or isinstance(error, PermissionError):
                    raise EnvironmentFailure(
                        f"{what} cannot be {done} ({self._reason(error)}); check the address, the network "
                        "and your rights there"
                    ) from error
            time.sleep(pause)
        raise AssertionError  # The last try returns or raises.

    def _reason(self, error: Exception) -> str:
        """Returns what an error says, without the password of the URL, in whatever form it is there."""
        reason, password = described(error), urllib.parse.urlsplit(self.url).password
        for secret in filter(None, (password, urllib.parse.unquote(password or ""))):
            reason = reason.replace(secret, "***")
        return reason

    def _progress(self, name: str) -> Any:
        """Returns what fsspec calls as the bytes of a file move."""
        import fsspec

        what = f"the copy of {name}, {self}"
        return fsspec.Callback(hooks={"report": lambda *_, **__: self.report(what)})

    def _checked(self, name: str) -> str:
        """Returns the name of a listed file; refuses one that would lead elsewhere on a disk."""
        for part in name.split("/"):
            if part in ("", ".", "..") or "\0" in part or len(part.encode(errors="replace")) > _LONGEST_NAME:
                raise EnvironmentFailure(
                    f"{self} holds a file with the name {name!r}, which no file can have here; rename it"
                )
        return name


def silent(doing: str) -> None:
    """Reports nothing."""


def described(error: BaseException) -> str:
    """Returns what an error of a library says, in one line."""
    text = getattr(error, "strerror", None) or next(iter(str(error).strip().splitlines()), "")
    return text or type(error).__name__


def _check_protocol(setting: str, protocol: str) -> None:
    if importlib.util.find_spec("fsspec") is None:
        raise ConfigurationError(
            f"`{setting}` is a URL, for which fsspec is missing; pip install 'vaeflow[cloud]'"
        )
    import fsspec  # Optional.

    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise ConfigurationError(
            f"`{setting}` begins with {protocol}://, which no installed library knows; use gs://, s3:// or "
            "another of fsspec's, or install the library that adds it"
        ) from error
    except ImportError as error:
        raise ConfigurationError(
            f"`{setting}` begins with {protocol}://, for which a library is missing ({described(error)}); "
            "pip install 'vaeflow[cloud]' brings those of gs:// and s3://"
        ) from error
