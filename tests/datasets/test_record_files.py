"""Records found in TFRecord files that TensorFlow wrote, and in damaged ones."""

import gzip
import zlib

import pytest
import tensorflow as tf

from vaeflow.datasets.record_files import RecordIndex
from vaeflow.errors import DataError

PAYLOADS = [b"one", b"", b"three" * 1000, b"four"]


def write_records(path, payloads):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return str(path)


def test_records_of_several_files_are_read_by_index(tmp_path):
    paths = [
        write_records(tmp_path / "a", PAYLOADS),
        write_records(tmp_path / "empty", []),
        write_records(tmp_path / "b", [b"five", b"six"]),
    ]
    index = RecordIndex(paths)
    expected = [*PAYLOADS, b"five", b"six"]
    assert len(index) == 6
    for record in (5, 0, 3, 4, 2, 1):
        assert index.read(record) == expected[record]
    assert index.describe(3) == f"{paths[0]}, record 3"
    assert index.describe(4) == f"{paths[2]}, record 0"


def test_damage_names_the_file_and_the_record(tmp_path):
    path = write_records(tmp_path / "a", PAYLOADS)
    content = (tmp_path / "a").read_bytes()
    third = (12 + 3 + 4) + (12 + 0 + 4)
    wrong_length = bytearray(content)
    wrong_length[third] ^= 1
    for damaged, message in [
        (content[:-1], "record 3 is cut short: 1 bytes are missing"),
        (content[: third + 30], "record 2 is cut short"),
        (content[: third + 5], "record 2 is cut short inside its header"),
        (bytes(wrong_length), "record 2: the header's checksum is wrong"),
        (b"some text that is long enough", "record 0: the header's checksum"),
        (gzip.compress(content), "record 0: .*gzipped.*decompress"),
        *((zlib.compress(content, level), "record 0: .*zlib.*decompress") for level in (0, 1, 5, 9)),
        (b"", "no records"),
    ]:
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(DataError, match=f"{path}.*{message}"):
            RecordIndex([path])


def test_a_file_that_shrinks_or_vanishes_is_named(tmp_path):
    path = write_records(tmp_path / "a", PAYLOADS)
    index = RecordIndex([path])
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-6])
    with pytest.raises(DataError, match=f"{path}, record 3 cannot be read: 2 bytes are missing"):
        index.read(3)
    (tmp_path / "a").unlink()
    with pytest.raises(DataError, match=f"{path}, record 0 cannot be read"):
        index.read(0)
    with pytest.raises(DataError, match="cannot be read"):
        RecordIndex([path])
