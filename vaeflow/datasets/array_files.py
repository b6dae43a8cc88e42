"""Opens an array in a .npy, .npz or HDF5 file, whose rows are then read in order.

Sizes that a file declares are compared with what it holds before anything is allocated.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Generator, Iterator
from typing import IO, Any

import numpy as np

from vaeflow.datasets.regular_files import check_regular, open_regular
from vaeflow.errors import DataError, RunError
from vaeflow.runs import watchdog

SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")
_MOST_LINKS = 16
ON_DEMAND = "save it with numpy.save as a .npy file, whose rows are read when they are used"


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in an open file.

    Attributes:
      path: the file.
      place: the file, and the array's name if there are several, for messages.
      shape: of the array; the first size counts the rows.
      dtype: of the array.
      read_rows: reads the next rows: takes their number, returns an array `[n, …]`.
    """

    path: pathlib.Path
    place: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read_rows: Callable[[int], np.ndarray]

    def chunks(self, num_rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yields all rows in order, in pairs: the number of the first, and up to `num_rows` rows."""
        for start in range(0, self.shape[0], num_rows):
            watchdog.progress(f"reading {self.place}, row {start} of {self.shape[0]}")
            with readable(self.place):
                chunk = self.read_rows(min(num_rows, self.shape[0] - start))
            yield start, chunk


@contextlib.contextmanager
def opened(path: pathlib.Path, key: str | None, setting: str) -> Generator[StoredArray]:
    """Opens the array in a file.

    Args:
      path: a file with one of the `SUFFIXES`.
      key: the name of the array in a `.npz` or HDF5 file; None if there is only one.
      setting: the setting of the key, for messages.

    Raises:
      DataError: the file is damaged, or holds no such array.
    """
    with contextlib.ExitStack() as stack:
        with readable(path):
            if path.suffix.lower() == ".npy":
                file = stack.enter_context(open_regular(path))
                found = _npy_array(file, check_regular(path).st_size, path, str(path))
            elif path.suffix.lower() == ".npz":
                archive = stack.enter_context(opened_archive(path))
                found = archive_member(stack, archive, path, _chosen_name(archive, path, key, setting))
            else:
                found = _hdf5_array(stack, path, key, setting)
        yield found


def memory_bytes() -> int:
    """Returns the bytes of memory of this machine, free or not."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(num_bytes: int, place: object, advice: str = ON_DEMAND) -> None:
    """Checks that an array may fit into memory, before it is allocated.

    Args:
      num_bytes: its size.
      place: the array, for the message.
      advice: what to do if it does not.

    Raises:
      DataError: it is larger than the memory of this machine.
    """
    memory = memory_bytes()
    if num_bytes > memory:
        raise DataError(
            f"{place} would take {num_bytes / 2**30:,.1f} GiB of memory, of which this machine has "
            f"{memory / 2**30:,.1f}; {advice}"
        )


@contextlib.contextmanager
def readable(place: object) -> Generator[None]:
    """Turns the errors of other libraries that read a file into a `DataError`; put it around their calls."""
    try:
        yield
    except (RunError, MemoryError):
        raise
    # Damaged files make zipfile, zlib, NumPy and h5py raise nearly every class there is.
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{place} cannot be read: {reason}; expected an intact file with a plain array of numbers"
        ) from error


@contextlib.contextmanager
def opened_archive(path: pathlib.Path) -> Generator[zipfile.ZipFile]:
    """Opens a `.npz` file."""
    with open_regular(path) as file:
        if file.read(2) != b"PK":  # zipfile would look for an archive anywhere in the file.
            raise ValueError("it does not begin as a .npz file")
        with zipfile.ZipFile(file) as archive:
            yield archive


def archive_member(
    stack: contextlib.ExitStack, archive: zipfile.ZipFile, path: pathlib.Path, name: str
) -> StoredArray:
    """Opens the array of a name in a `.npz` file, which stays open as long as the stack."""
    member = archive.getinfo(f"{name}.npy")
    stream = stack.enter_context(archive.open(member))
    return _npy_array(stream, member.file_size, path, f"{path}, array {name}")


def _chosen_name(archive: zipfile.ZipFile, path: pathlib.Path, key: str | None, setting: str) -> str:
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    return _chosen(path, key, names, setting)


def _chosen(path: pathlib.Path, key: str | None, names: list[str], setting: str) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        raise DataError(
            f"{path} holds the arrays {', '.join(sorted(names)) or '(none)'}; set `{setting}` to one of "
            f"them, got {key!r}"
        )
    return key


def _npy_array(stream: IO[bytes], num_bytes: int, path: pathlib.Path, place: str) -> StoredArray:
    """Reads the header of an array in NumPy's format; `num_bytes` is the length of the whole stream."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"it has version {version} of NumPy's format, expected 1.0 or 2.0")
    first = version == (1, 0)
    read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, column_major, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    if not shape or any(size < 0 for size in shape):
        raise ValueError(f"its header gives the shape {shape}")
    missing = math.prod(shape) * dtype.itemsize - (num_bytes - stream.tell())
    if missing > 0:
        raise EOFError(f"it is cut short: {missing} bytes of the shape {shape} in its header are missing")

    def read(num_rows: int) -> np.ndarray:
        size = num_rows * math.prod(shape[1:]) * dtype.itemsize
        content = stream.read(size)
        if len(content) != size:
            raise EOFError(f"it is cut short: {size - len(content)} bytes are missing")
        return np.frombuffer(content, dtype).reshape(num_rows, *shape[1:])

    if column_major:
        check_memory(math.prod(shape) * dtype.itemsize, place)
        return _whole(path, place, read(shape[0]).reshape(-1).reshape(shape, order="F"))
    return StoredArray(path, place, shape, dtype, read)


def _whole(path: pathlib.Path, place: str, array: Any) -> StoredArray:
    """Makes a `StoredArray` of something with a shape and a dtype that can be sliced."""
    next_row = 0

    def read(num_rows: int) -> np.ndarray:
        nonlocal next_row
        next_row += num_rows
        return np.asarray(array[next_row - num_rows : next_row])

    return StoredArray(path, place, tuple(array.shape), array.dtype, read)


def _hdf5_array(
    stack: contextlib.ExitStack, path: pathlib.Path, key: str | None, setting: str
) -> StoredArray:
    import h5py

    check_regular(path)
    file = stack.enter_context(h5py.File(path, "r"))
    names = []

    refused: list[DataError] = []

    def note(name: str, _: Any) -> None:
        try:
            node = _hdf5_node(file, name, path)
        except DataError as error:
            refused.append(error)
            return
        if isinstance(node, h5py.Dataset) and node not in found:
            found.append(node)
            names.append(name)

    found: list[Any] = []
    file.visititems_links(note)
    if refused and not names:
        raise refused[0]
    array: Any = None if key is None else _hdf5_node(file, key, path)
    if not isinstance(array, h5py.Dataset):
        array = _hdf5_node(file, _chosen(path, key, names, setting), path)
    if array.is_virtual or array.external:
        raise DataError(
            f"{path}: the array {array.name} is stored in other files, which are not followed; copy it into "
            "one file"
        )
    if array.shape is None or not array.id.get_storage_size():
        raise DataError(
            f"{path}: the array {array.name} was declared with shape {array.shape}, but never written"
        )
    return _whole(path, f"{path}, array {array.name}" if len(names) > 1 else str(path), array)


def _hdf5_node(file: Any, name: str, path: pathlib.Path) -> Any:
    """Returns what a name leads to in the same file, through groups and soft links; None if nothing."""
    import h5py

    node: Any = file
    remaining, num_links = name.split("/"), 0
    while remaining:
        part = remaining.pop(0)
        if part in ("", "."):
            continue
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{path}: {part} is a link to {link.path} in the file {link.filename}, which is not "
                "followed; copy the array into one file"
            )
        if isinstance(link, h5py.SoftLink):
            num_links += 1
            if num_links > _MOST_LINKS:
                raise DataError(f"{path}: the links of {name} go round in a circle")
            node = file if link.path.startswith("/") else node
            remaining = [*link.path.split("/"), *remaining]
        else:
            node = node[part]
    return node
