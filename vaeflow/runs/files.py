"""The one way to write a file or a folder: whole or not at all.

    with files.writing(path) as file:
        file.write(content)

    with files.staging(workdir, "export") as folder:
        ...
        files.move(folder, workdir / "export")

Both write under another name in the same folder, flush to the disk and rename, so a reader finds the
old content or the new, whatever happens in between. The other name is random and must be free: a link
that somebody prepared is never followed, and two processes never write to one file.

A folder takes the place of another in one step where the system can exchange two names. Elsewhere the
old one has another name for a moment; the next `staging` of that name finds it again if the process
was killed just then.
"""

import contextlib
import errno
import functools
import glob
import os
import re
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from vaeflow.errors import EnvironmentFailure
from vaeflow.runs import being_written, ending
from vaeflow.runs.being_written import UNFINISHED, free_name
from vaeflow.runs.exchange import exchange

_REPLACED = ".replaced-"
_OURS = re.compile(f"(?:{re.escape(UNFINISHED)}|{re.escape(_REPLACED)})(.+)-[0-9a-f]{{16}}", re.DOTALL)
_ADVICE = {
    **dict.fromkeys(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)), "free some space"),
    **dict.fromkeys(map(os.strerror, (errno.EACCES, errno.EPERM, errno.EROFS)), "make the folder writable"),
    **dict.fromkeys(map(os.strerror, (errno.ENOENT, errno.ESTALE)), "put the folder back where it was"),
    **dict.fromkeys(
        map(os.strerror, (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)),
        "move away what is in its place",
    ),
    **dict.fromkeys(map(os.strerror, (errno.EMFILE, errno.ENFILE)), "raise the limit of open files"),
    os.strerror(errno.ENAMETOOLONG): "choose a shorter path",
    os.strerror(errno.ELOOP): "remove the link that has this name",
}
# A rename onto something that stays: a folder with content, a file, a link.
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


@contextlib.contextmanager
def writing(path: Path, durable: bool = True) -> Generator[BinaryIO]:
    """Opens a new file that takes the name `path` when the block ends without an exception.

    Args:
      path: of the file, in a folder that exists: a work folder that somebody removes during the run
        must not come back with a part of its files.
      durable: False for content that a crash of the machine may take, and that is written too often
        to wait for the disk.

    Yields:
      A binary file.

    Raises:
      EnvironmentFailure: the file cannot be written; what had this name before is unchanged.
    """
    with reported(path), contextlib.ExitStack() as stack:
        _remove_abandoned(path.parent, path.name)
        with ending.held_off():
            unfinished, descriptor = being_written.new_file(path.parent, path.name)
            stack.enter_context(ending.cleaned_up(functools.partial(_remove, unfinished)))
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(descriptor)
            unfinished.rename(path)
        if durable:
            _flush(path.parent)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Writes a text file in UTF-8; see `writing`.

    Half of a surrogate pair, which stands for a byte of a file's name that is no UTF-8, is written out
    as JSON does, in six characters.
    """
    with writing(path, durable) as file:
        file.write(text.encode(errors="backslashreplace"))


def make_folder(path: Path) -> None:
    """Makes a folder in an existing one, unless it is there.

    Raises:
      EnvironmentFailure: it cannot be made.
    """
    with reported(path):
        path.mkdir(exist_ok=True)


def append_text(path: Path, text: str) -> None:
    """Adds text to the end of a file, which is made if it does not exist; follows no link.

    Raises:
      EnvironmentFailure: the file cannot be written.
    """
    with reported(path), appending(path) as file:
        file.write(text.encode())


def appending(path: Path) -> BinaryIO:
    """Opens a file to add to its end, which is made if it does not exist; follows no link."""
    # Not blocking: nobody may read at the other end of a named pipe.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "ab")


@contextlib.contextmanager
def staging(parent: Path, name: str) -> Generator[Path]:
    """Makes an empty folder to write to; `move` gives it, or what is in it, a final name.

    Args:
      parent: where it is made, an existing folder on the disk of the final name.
      name: what it is for, as part of its own name.

    Yields:
      Its path. What is still there when the block ends is removed.

    Raises:
      EnvironmentFailure: the block raised an `OSError`.
    """
    with reported(parent / name), contextlib.ExitStack() as stack:
        _remove_abandoned(parent, name)
        _recover(parent, name)
        with ending.held_off():
            folder, descriptor = being_written.new_folder(parent, name)
            stack.enter_context(ending.cleaned_up(functools.partial(_discard, folder)))
        stack.callback(os.close, descriptor)
        yield folder


def move(source: Path, path: Path) -> None:
    """Flushes a finished file or folder to the disk and gives it its name.

    Args:
      source: the file or folder, on the same disk.
      path: the name; what has it is replaced. Of a link, the link, not what it leads to.

    Raises:
      EnvironmentFailure: it cannot be moved; what had the name before is unchanged.
    """
    with reported(path):
        _flush_all(source)
        try:
            source.rename(path)
        except OSError as error:
            if error.errno not in _TAKEN or not source.is_dir():
                raise
            _replace(source, path)
        _flush(path.parent)


def set_aside(path: Path) -> Path:
    """Gives what is not ours, but has a name that is needed, another name; returns that."""
    aside = path.with_name(f"{path.name} ({secrets.token_hex(4)})")
    path.rename(aside)
    return aside


def remove_folder(path: Path) -> None:
    """Removes a folder, which loses its name first: under its name it is whole until it is gone."""
    leaving = free_name(path.parent, f"removal-{path.name}")
    with ending.cleaned_up(functools.partial(_remove, leaving)):
        with ending.held_off():
            path.rename(leaving)
        shutil.rmtree(leaving)


def remove_unfinished(folder: Path, folders: bool = True) -> None:
    """Removes what killed processes left unfinished.

    Args:
      folder: where they wrote, and no other process writes now.
      folders: False to remove files only.
    """
    for left in folder.glob(f"{UNFINISHED}*"):
        if _OURS.fullmatch(left.name) and (folders or not left.is_dir()):
            _remove(left)
    if folders:
        _recover(folder)


@contextlib.contextmanager
def reported(path: Path) -> Generator[None]:
    """Turns an `OSError` inside into an `EnvironmentFailure` about `path`."""
    try:
        yield
    except OSError as error:
        raise failure(path, error) from error


def failure(path: Path, error: Exception) -> EnvironmentFailure:
    """Returns the error that says which file could not be written, why, and what to do.

    Args:
      path: the file or folder as the user knows it.
      error: what was raised while it was written.
    """
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number) if number else _reason_of_tensorflow(str(error))
    advice = _ADVICE.get(reason, "free some space or check the disk")
    # What is in a staging folder is called by the name it would have had.
    path = Path(*(_OURS.sub(r"\1", part) for part in path.parts))
    return EnvironmentFailure(
        f"{path} cannot be written ({reason}); {advice}, then run the same command again"
    )


def _reason_of_tensorflow(message: str) -> str:
    """Cuts `{{node …}} PATH; No space left on device [Op:SaveV2]` down to what the system said."""
    line = message.rpartition("}} ")[2].partition("\n")[0]
    return re.sub(r" \[Op:\w+\].*", "", line).rpartition("; ")[2]


def _replace(source: Path, path: Path) -> None:
    """Gives a folder the name of what is there; that is whole under this name, or under `_REPLACED`."""
    try:
        if exchange(source, path):
            _remove(source)
            return
    except FileNotFoundError:  # Another process has moved it away meanwhile.
        source.rename(path)
        return
    replaced = free_name(path.parent, path.name, _REPLACED)
    with ending.held_off():
        path.rename(replaced)
        try:
            source.rename(path)
        except OSError:
            if not os.path.lexists(path):
                replaced.rename(path)
            raise
        _remove(replaced)


def _recover(parent: Path, name: str | None = None) -> None:
    """Gives what a killed process was about to replace its name back, unless something new has it."""
    pattern = f"{_REPLACED}*" if name is None else f"{_REPLACED}{glob.escape(name)}-*"
    for left in parent.glob(pattern):
        if not (ours := _OURS.fullmatch(left.name)):
            continue
        path = parent / ours[1]
        # Without an error if another process is faster.
        with contextlib.suppress(OSError):
            if os.path.lexists(path):
                _remove(left)
            else:
                left.rename(path)


def _remove_abandoned(parent: Path, name: str) -> None:
    for left in parent.glob(f"{UNFINISHED}{glob.escape(name)}-*"):
        if _OURS.fullmatch(left.name):
            with being_written.abandoned(left) as is_abandoned:
                if is_abandoned:
                    _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _discard(folder: Path) -> None:
    """Removes an unfinished folder; it is renamed first, so that no thread moves it when it is half gone."""
    leaving = free_name(folder.parent, _OURS.sub(r"\1", folder.name))
    try:
        folder.rename(leaving)
    except OSError:  # It has been moved, or nothing can be renamed here.
        leaving = folder
    _remove(leaving)


def _flush_all(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _flush_all(child)
    _flush(path)


def _flush(path: Path) -> None:
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)
