"""Tells whole image files from damaged ones, mostly by their two ends.

A file whose ends, or checksums, are as its format wants them is taken for whole; only others are decoded
here. So a large folder is examined quickly, before a training that would stumble over its files later.
"""

import hashlib
import os
import zlib
from typing import BinaryIO, NamedTuple

from PIL import Image

from vaeflow.datasets import decoding
from vaeflow.datasets.regular_files import open_regular
from vaeflow.errors import DataError

_END_BYTES = 4096
# Far above any picture, and far below what exhausts the memory.
_MOST_PIXELS = 2**28
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


class Health(NamedTuple):
    """What is known of a file.

    Attributes:
      problem: what is wrong with it; None if it is whole.
      digest: of its size and its two ends.
      size: the height and width that its header declares, before it is turned.
    """

    problem: str | None
    digest: bytes
    size: tuple[int, int] = (0, 0)


def examine(path: str) -> Health:
    """Examines an image file."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_END_BYTES)
            file.seek(max(0, size - _END_BYTES))
            tail = file.read(_END_BYTES)
            digest = hashlib.sha256(b"%d\0" % size + head + tail).digest()
            problem, pixels = _examined(file, size, head, tail)
            return Health(problem, digest, pixels)
    except (DataError, OSError) as error:
        return Health(str(error), b"")


def _examined(file: BinaryIO, size: int, head: bytes, tail: bytes) -> tuple[str | None, tuple[int, int]]:
    if not size:
        return "empty", (0, 0)
    problem, pixels = _header(file)
    if problem or _looks_whole(file, head, tail, size):
        return problem, pixels
    file.seek(0)
    try:
        decoding.decode_image(file.read(), "the file", 3)
    except DataError as error:
        return str(error).removeprefix("the file ").partition("; ")[0], pixels
    return None, pixels


def _header(file: BinaryIO) -> tuple[str | None, tuple[int, int]]:
    """Reads the header: what is wrong with it, and the height and width that it declares."""
    file.seek(0)
    try:
        # Pillow warns of sizes that the limit below refuses.
        with decoding.silenced_pillow(), Image.open(file, formats=_FORMATS) as image:
            width, height = image.size
    # A damaged file makes Pillow raise nearly every class there is.
    except Exception as error:
        reason = "no image of a known format" if isinstance(error, Image.UnidentifiedImageError) else error
        return " ".join(str(reason).split())[:200] or type(error).__name__, (0, 0)
    if not 0 < width * height <= _MOST_PIXELS:
        return f"its header declares {height}x{width} pixels", (height, width)
    return None, (height, width)


def _looks_whole(file: BinaryIO, head: bytes, tail: bytes, size: int) -> bool:
    """Whether there is no need to decode a file to know that it can be decoded."""
    if head.startswith(b"\x89PNG"):
        return _png_is_whole(file, size)
    if head.startswith(b"\xff\xd8"):
        return tail.rstrip(b"\0").endswith(b"\xff\xd9")
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 <= size
    return False


def _png_is_whole(file: BinaryIO, size: int) -> bool:
    """Whether all parts of a PNG file up to its end have the right checksum."""
    file.seek(8)
    while len(header := file.read(8)) == 8:
        content = file.read(min(size, int.from_bytes(header[:4], "big")))
        if zlib.crc32(content, zlib.crc32(header[4:])).to_bytes(4, "big") != file.read(4):
            return False
        if header[4:] == b"IEND":
            return True
    return False
