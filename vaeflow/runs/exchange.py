"""Exchanges the names of two files or folders in one step, as Linux offers it."""

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h
# How a system, or the file system, says that it does not offer it.
_NOT_OFFERED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ENOTTY})


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two names on one disk; at each moment both lead to something whole. Follows no links.

    Args:
      one: a file, a folder or a link.
      other: the same.

    Returns:
      Whether the names are exchanged; False where the system does not offer it.

    Raises:
      OSError: the system offers it, but it failed.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = os.fsencode(one), os.fsencode(other)
    if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_OFFERED:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
