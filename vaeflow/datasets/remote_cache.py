"""The local cache of data that is behind URLs: copied once, each file whole or not at all.

    ~/.cache/vaeflow/data/<URL>/<version>/images/…   what the URL holds; `XDG_CACHE_HOME` moves `~/.cache`
    ~/.cache/vaeflow/data/<URL>/<version>.json       the files, with what the remote file system says of each

URL and version are digests, the latter of that list. So a changed file is noticed at the next start. Then
another version is made, with links to the files that are the same, and a run that reads the old one is not
disturbed. A copy that was stopped goes on with the files that are missing.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from vaeflow.errors import DataError
from vaeflow.runs import files, json_files, watchdog
from vaeflow.runs.escaping import printable
from vaeflow.runs.remote_folder import RemoteFolder

# What is known of remote files, by their names.
Infos = Mapping[str, Mapping[str, Any]]
Stamps = dict[str, dict[str, Any]]

# How file systems call what changes when a file does.
_STAMPS = (
    "ETag",
    "etag",
    "md5Hash",
    "generation",
    "LastModified",
    "last_modified",
    "updated",
    "mtime",
    "created",
)
_THREADS = 16
_LOCK = ".lock"
_AGAIN = "run the same command again"


def folder() -> pathlib.Path:
    """Returns the folder of the cache."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        home = base if base.is_absolute() else pathlib.Path("~/.cache").expanduser()
    except RuntimeError as error:
        raise DataError(
            "there is no home folder to keep a cache in; set XDG_CACHE_HOME to a folder"
        ) from error
    return home / "vaeflow" / "data"


def copied(remote: RemoteFolder, listed: Callable[[], Infos], shown: str, below: str = ".") -> pathlib.Path:
    """Copies files, unless they are here in this version.

    Args:
      remote: the folder with the files.
      listed: returns what is known of the files that are wanted.
      shown: how messages call them.
      below: the folder that they get in that of the version.

    Returns:
      The folder of the version.

    Raises:
      DataError: there are none, they changed meanwhile, or they did not arrive as they are there.
      EnvironmentFailure: they cannot be read, or the cache cannot be written.
    """
    remote.report = watchdog.progress
    infos = listed()
    if not infos:
        raise DataError(f"{shown} holds no file, or does not exist; check the address")
    stamps: Stamps = {name: _stamp(info) for name, info in infos.items()}
    home = folder() / _digest(str(remote))
    version = home / _digest(json.dumps(stamps, sort_keys=True))
    record = home / f"{version.name}.json"
    with files.reported(version), _alone(home, shown):
        (version / below).mkdir(parents=True, exist_ok=True)
        _link_to_others(home, version / below, below, _missing(version / below, stamps))
        if missing := _missing(version / below, stamps):
            _copy(remote, infos, list(missing), version / below, shown)
            if {name: _stamp(info) for name, info in listed().items()} != stamps:
                for name in missing:  # Which version they are of is unknown.
                    (version / below / name).unlink(missing_ok=True)
                raise DataError(f"{shown} has changed while it was copied; {_AGAIN}")
        if not record.exists():
            json_files.write(record, {"url": str(remote), "files": stamps})
    return version


def _copy(remote: RemoteFolder, infos: Infos, names: Sequence[str], target: pathlib.Path, shown: str) -> None:
    """Copies files, several at once where the library can do that."""
    _check_room(sum(infos[name].get("size") or 0 for name in names), len(names), shown)
    with contextlib.ExitStack() as stack:
        staged = stack.enter_context(files.staging(folder(), "download"))
        pool = concurrent.futures.ThreadPoolExecutor(_THREADS if remote.is_concurrent() else 1)
        stack.callback(pool.shutdown, cancel_futures=True)

        def copy(number: int) -> None:
            name, part = names[number], staged / str(number)
            try:
                remote.get(name, part)
            except FileNotFoundError as error:
                raise DataError(f"{remote}/{name} has gone while it was copied; {_AGAIN}") from error
            _check(part, infos[name], f"{remote}/{name}")
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            files.move(part, target / name)

        for done in [pool.submit(copy, number) for number in range(len(names))]:
            done.result()


def _check_room(num_bytes: int, num_files: int, shown: str) -> None:
    """Refuses what the disk of the cache has no room for; says what is going to be copied."""
    free = shutil.disk_usage(folder()).free
    if num_bytes > free:
        raise DataError(
            f"{shown}: {num_bytes / 1e9:,.1f} GB are to be copied to {folder()}, whose disk has "
            f"{free / 1e9:,.1f} GB left; free some, or set XDG_CACHE_HOME to a folder on another disk"
        )
    print(printable(f"copying {num_files:,} files ({num_bytes / 1e6:,.1f} MB) of {shown}"), file=sys.stderr)


def _check(path: pathlib.Path, info: Mapping[str, Any], what: str) -> None:
    """Compares a file with what its remote file system says of it."""
    size, expected = path.stat().st_size, info.get("size")
    if expected is not None and size != expected:
        raise DataError(f"{what} has {expected:,} bytes, of which {size:,} arrived; {_AGAIN}")
    if "md5Hash" in info:  # Of Google Cloud Storage; the ETag of S3 need not be a digest.
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
        if base64.b64encode(digest).decode() != info["md5Hash"]:
            raise DataError(f"{what} has arrived with another MD5 than it has there; {_AGAIN}")


def _link_to_others(home: pathlib.Path, target: pathlib.Path, below: str, wanted: Stamps) -> None:
    """Links to the files of other versions that are the same."""
    for record in sorted(home.glob("*.json")) if wanted else ():
        with contextlib.suppress(OSError, ValueError):  # Then they are copied.
            known = json_files.read(record, {"files": json_files.OBJECT_BY_NAME})["files"]
            other = home / record.stem / below
            for name in [name for name, stamp in wanted.items() if known.get(name) == stamp]:
                if _is_there(other / name, wanted[name]) and not (target / name).exists():
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    os.link(other / name, target / name)


@contextlib.contextmanager
def _alone(home: pathlib.Path, shown: str) -> Generator[None]:
    """Waits until no other process of this machine copies the same."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / _LOCK).open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                watchdog.progress(f"the wait for another process, which copies {shown}")
                time.sleep(0.2)
            except OSError:  # The disk has no locks; both copy then, and each file is whole.
                break
        yield


def _missing(target: pathlib.Path, stamps: Stamps) -> Stamps:
    return {name: stamp for name, stamp in stamps.items() if not _is_there(target / name, stamp)}


def _is_there(path: pathlib.Path, stamp: Mapping[str, Any]) -> bool:
    try:
        return stamp["size"] in (None, path.stat().st_size)
    except OSError:
        return False


def _stamp(info: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what tells one version of a file from another."""
    found = {key: info[key] for key in _STAMPS if info.get(key) is not None}
    # A listing may write a time otherwise than a question for one file.
    times = {key: value.timestamp() for key, value in found.items() if isinstance(value, datetime.datetime)}
    return {"size": info.get("size")} | {key: str(value) for key, value in (found | times).items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
