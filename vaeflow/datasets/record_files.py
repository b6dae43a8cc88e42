"""TFRecord files read by index."""

import glob
import hashlib
import itertools
import os
import pathlib
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow.datasets import remote
from vaeflow.datasets.regular_files import check_regular, open_regular
from vaeflow.errors import DataError
from vaeflow.runs import watchdog

_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4
# How compressed files begin: gzip, and zlib at each of its levels.
_COMPRESSED = {b"\x1f\x8b": "gzipped"} | dict.fromkeys(
    (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), "compressed with zlib"
)


def matching_files(patterns: Iterable[str]) -> list[str]:
    """Lists the files that match some patterns, each real file once, sorted.

    Args:
      patterns: as for `glob`; a part of a pattern that exists as it is written is no pattern. URLs are
        copied first.

    Raises:
      DataError: there is none, or something that matches is no regular file.
    """
    paths = sorted(set(itertools.chain.from_iterable(map(_expand, patterns))))
    if not paths:
        raise DataError(f"no file matches {', '.join(map(repr, patterns))}; expected TFRecord files")
    files = {}
    for path in paths:
        state = check_regular(path)
        files.setdefault((state.st_dev, state.st_ino), path)
    if len(files) < len(paths):
        logging.warning(
            "%d of the files that match %s are links to others of them, and are left out",
            *(len(paths) - len(files), ", ".join(map(repr, patterns))),
        )
    return list(files.values())


def _expand(pattern: str) -> list[str]:
    if remote.is_url(pattern):
        return remote.matching("TFRecords", pattern)
    first, *parts = pathlib.PurePath(pattern).parts
    found = [first] if os.path.lexists(first) else glob.glob(first, recursive=True)  # noqa: PTH207
    for part in parts:
        bases, found = found, []
        for base in bases:
            literal = os.path.join(base, part)  # noqa: PTH118
            if os.path.lexists(literal):
                found.append(literal)
            else:
                found += glob.glob(os.path.join(glob.escape(base), part), recursive=True)  # noqa: PTH118, PTH207
    is_literal = found == [str(pathlib.PurePath(pattern))]
    return found if is_literal else [path for path in found if not os.path.isdir(path)]  # noqa: PTH112


class RecordIndex:
    """The positions of all records in some local, uncompressed TFRecord files.

    They are found from the records' headers. The checksums of the headers are verified,
    those of the payloads are not.

    Args:
      paths: the files.

    Raises:
      DataError: a file is damaged, compressed or unreadable, or all are empty.
    """

    def __init__(self, paths: Sequence[str]):
        self._paths = paths
        places = [_record_places(path) for path in paths]
        self._offsets = np.concatenate([offsets for offsets, _, _ in places])
        self._lengths = np.concatenate([lengths for _, lengths, _ in places])
        self._ends = np.cumsum([len(offsets) for offsets, _, _ in places])
        self._checksums = b"".join(checksums for _, _, checksums in places)
        if not len(self._offsets):
            raise DataError(f"{', '.join(map(str, paths))}: no records; expected at least one")

    def __len__(self) -> int:
        return len(self._offsets)

    def content_digest(self) -> str:
        """Returns a digest of all payloads, made from the checksums that are stored with them."""
        return hashlib.sha256(self._checksums).hexdigest()

    def describe(self, record: int) -> str:
        """Names a record for an error, by its file and its number in the file."""
        file = int(np.searchsorted(self._ends, record, side="right"))
        return f"{self._paths[file]}, record {record - (self._ends[file - 1] if file else 0)}"

    def read(self, record: int) -> bytes:
        """Reads the payload of one record.

        Raises:
          DataError: the file is gone or was cut short.
        """
        path = self._paths[int(np.searchsorted(self._ends, record, side="right"))]
        length = int(self._lengths[record])
        try:
            with open_regular(path) as file:
                payload = os.pread(file.fileno(), length, int(self._offsets[record]))
            if len(payload) != length:
                raise EOFError(f"{length - len(payload)} bytes are missing")
            return payload
        except (OSError, EOFError, DataError) as error:
            raise DataError(f"{self.describe(record)} cannot be read: {error}; put the file back") from error


def read_value(index: RecordIndex, record: int, key: str, kind: str) -> Any:
    """Reads the single value of a feature of a record's `tf.train.Example`.

    Args:
      index: the positions of all records.
      record: the number of the record.
      key: the feature's name.
      kind: `"bytes_list"` or `"int64_list"`.

    Raises:
      DataError: the record is not a `tf.train.Example`, or the feature does not have
        exactly one value.
    """
    payload = index.read(record)
    try:
        features = tf.train.Example.FromString(payload).features.feature
    # The parser's error belongs to protobuf, which is not a dependency of vaeflow.
    except Exception as error:
        raise DataError(f"{index.describe(record)} is not a tf.train.Example: {error}") from error
    values = getattr(features[key], kind).value if key in features else ()
    if len(values) != 1:
        raise DataError(
            f"{index.describe(record)}: the feature {key!r} has {len(values)} values in its {kind}, "
            f"expected one; the record has the features {', '.join(sorted(features)) or '(none)'}"
        )
    return values[0]


def _record_places(path: str) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Returns the offsets and lengths of a file's payloads, two int64 arrays, and their checksums."""
    watchdog.progress(f"reading where the records of {path} begin")
    offsets, lengths, checksums = [], [], []
    start = end = 0
    try:
        with open_regular(path) as file:
            end = os.fstat(file.fileno()).st_size
            while start < end:
                header = os.pread(file.fileno(), _HEADER.size, start)
                length = _checked_length(header, f"{path}, record {len(offsets)}")
                offsets.append(start + _HEADER.size)
                lengths.append(length)
                start += _HEADER.size + length + _FOOTER_BYTES
                if start <= end:
                    checksums.append(os.pread(file.fileno(), _FOOTER_BYTES, start - _FOOTER_BYTES))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if start > end:
        raise DataError(
            f"{path}, record {len(offsets) - 1} is cut short: {start - end} bytes are missing; write it again"
        )
    return np.array(offsets, np.int64), np.array(lengths, np.int64), b"".join(checksums)


def _checked_length(header: bytes, record: str) -> int:
    if len(header) < _HEADER.size:
        raise DataError(f"{record} is cut short inside its header; write the file again")
    length, checksum = _HEADER.unpack(header)
    if _masked_crc32c(header[:8]) != checksum:
        if header[:2] in _COMPRESSED:
            raise DataError(
                f"{record}: the file is {_COMPRESSED[header[:2]]} and cannot be read by index; write it "
                "again without compression, or decompress it"
            )
        raise DataError(f"{record}: the header's checksum is wrong; expected an intact TFRecord file")
    return length


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc32c_table()


def _masked_crc32c(data: bytes) -> int:
    """Returns the checksum of the TFRecord format: CRC-32C, rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC32C[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
