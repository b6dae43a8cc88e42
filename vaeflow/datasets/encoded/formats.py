"""The formats of shards: how some examples are written to a file, and read back by their numbers in it.

In TFRecord and ArrayRecord each record is a `tf.train.Example`, whose floats and integers are in the
`float_list` and `int64_list` of the features, row by row.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import math
import os
import pathlib
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.datasets import array_files
from vaeflow.datasets.record_files import RecordIndex
from vaeflow.datasets.regular_files import check_regular, open_regular
from vaeflow.errors import ConfigurationError, DataError

Arrays = Mapping[str, np.ndarray]
# Takes the numbers of examples in a file, increasing, and the names of arrays; returns name -> `[n, …]`.
Reader = Callable[[np.ndarray, tuple[str, ...]], dict[str, np.ndarray]]

_ARRAY_RECORD = "array_record.python.array_record_module"
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # Of a member of a .zip file, before its name.


@dataclasses.dataclass(frozen=True)
class Spec:
    """What an array holds of one example: shape and dtype."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def num_bytes(self) -> int:
        """The size of one example."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
      suffix: of the files' names.
      write: writes arrays `[n, …]`, name -> array, to a new file; the same bytes each time.
      open: opens a file with the arrays of some specs, and a number of examples.
      package: the package that it needs beside vaeflow's own dependencies, or empty.
      module: that package's module.
    """

    suffix: str
    write: Callable[[pathlib.Path, Arrays], None]
    open: Callable[[pathlib.Path, Mapping[str, Spec], int], Reader]
    package: str = ""
    module: str = ""

    def check_package(self) -> None:
        """Raises `ConfigurationError` unless the package that it needs is installed."""
        if self.module and importlib.util.find_spec(self.module) is None:
            raise ConfigurationError(
                f"files of this format need the package {self.package}; run "
                f"pip install 'vaeflow[{self.package}]', or choose another format"
            )


def _write_npz(path: pathlib.Path, arrays: Arrays) -> None:
    # Not compressed, so that one example can be read alone; the times in the file are constant.
    np.savez(path, allow_pickle=False, **arrays)


def _open_npz(path: pathlib.Path, specs: Mapping[str, Spec], num_examples: int) -> Reader:
    with array_files.readable(path):
        offsets = {name: _offset(path, name, spec, num_examples) for name, spec in specs.items()}

    def read(rows: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        with open_regular(path) as file, array_files.readable(path):
            return {name: _read_rows(file.fileno(), offsets[name], rows, specs[name]) for name in names}

    return read


def _offset(path: pathlib.Path, name: str, spec: Spec, num_examples: int) -> int:
    """Returns where the first number of an array begins in a file."""
    with open_regular(path) as file, array_files.opened_archive(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"the array {name!r} is compressed")
        with contextlib.ExitStack() as stack:
            found = array_files.archive_member(stack, archive, path, name)
            if (found.shape, found.dtype.str) != ((num_examples, *spec.shape), np.dtype(spec.dtype).str):
                raise ValueError(
                    f"the array {name!r} is {found.dtype} {found.shape}, the manifest has {spec.dtype} "
                    f"{(num_examples, *spec.shape)}"
                )
        header = os.pread(file.fileno(), _LOCAL_HEADER.size, member.header_offset)
        _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        end = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length + member.file_size
        return end - num_examples * spec.num_bytes


def _read_rows(descriptor: int, offset: int, rows: np.ndarray, spec: Spec) -> np.ndarray:
    """Reads the rows of an array; neighbours by one call."""
    content = bytearray()
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        size = len(run) * spec.num_bytes
        part = os.pread(descriptor, size, offset + int(run[0]) * spec.num_bytes) if size else b""
        if len(part) != size:
            raise EOFError(f"it is cut short: {size - len(part)} bytes are missing")
        content += part
    return np.frombuffer(content, spec.dtype).reshape(len(rows), *spec.shape)


def _write_tfrecord(path: pathlib.Path, arrays: Arrays) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in _records(arrays):
            writer.write(record)


def _open_tfrecord(path: pathlib.Path, specs: Mapping[str, Spec], num_examples: int) -> Reader:
    index = RecordIndex([str(path)])
    return _reader(path, specs, num_examples, len(index), lambda rows: [index.read(row) for row in rows])


def _write_array_record(path: pathlib.Path, arrays: Arrays) -> None:
    array_record_module = importlib.import_module(_ARRAY_RECORD)  # Optional.
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for record in _records(arrays):
        writer.write(record)
    writer.close()


def _open_array_record(path: pathlib.Path, specs: Mapping[str, Spec], num_examples: int) -> Reader:
    FORMATS["array_record"].check_package()
    array_record_module = importlib.import_module(_ARRAY_RECORD)
    check_regular(path)
    with array_files.readable(path):
        options = "readahead_buffer_size:0,max_parallelism:0"  # For examples in any order.
        reader = array_record_module.ArrayRecordReader(str(path), options)
        found = reader.num_records()
    return _reader(path, specs, num_examples, found, reader.read)


def _reader(
    path: pathlib.Path,
    specs: Mapping[str, Spec],
    num_examples: int,
    num_records: int,
    payloads: Callable[[list[int]], list[bytes]],
) -> Reader:
    if num_records != num_examples:
        raise DataError(f"{path} holds {num_records} records, the manifest has {num_examples}; put it back")

    def read(rows: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        features = {
            name: tf.io.FixedLenFeature(specs[name].shape, _feature_dtype(specs[name])) for name in names
        }
        with array_files.readable(path), tf.device("CPU:0"):
            parsed: Any = tf.io.parse_example(payloads(rows.tolist()), features)
        return {name: parsed[name].numpy() for name in names}

    return read


def _records(arrays: Arrays) -> Iterator[bytes]:
    for row in range(len(next(iter(arrays.values())))):
        features = {name: _feature(array[row].reshape(-1)) for name, array in arrays.items()}
        example = tf.train.Example(features=tf.train.Features(feature=features))
        # The order of a map is otherwise any.
        yield example.SerializeToString(deterministic=True)


def _feature(values: np.ndarray) -> tf.train.Feature:
    if values.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _feature_dtype(spec: Spec) -> tf.DType:
    return tf.float32 if spec.dtype == "float32" else tf.int64


FORMATS = {
    "npz": Format("npz", _write_npz, _open_npz),
    "tfrecord": Format("tfrecord", _write_tfrecord, _open_tfrecord),
    "array_record": Format(
        "array_record", _write_array_record, _open_array_record, "array_record", "array_record"
    ),
}
