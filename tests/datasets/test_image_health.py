"""Damaged files in a folder of images: all are named before training, or skipped."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.image_folders import load_split, read_images, save_image
from vaeflow.errors import DataError


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


DAMAGES = {
    "empty.png": b"",
    "words.jpg": b"these are words",
    "blank.png": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "cut.png": cut,
    "cut.jpg": cut,
    "cut.webp": cut,
    "cut.gif": cut,
    "cut.bmp": cut,
    "cut.tiff": cut,
    "flipped.png": flipped,
}


@pytest.fixture
def damaged_folder(tmp_path):
    """A folder with two good images and one of each damage."""
    noise = np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    for name, damage in DAMAGES.items():
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(damage(content) if callable(damage) else damage)
    save_image(tmp_path / "good.png")
    save_image(tmp_path / "good.jpg")
    return tmp_path


def test_all_damaged_files_are_named_at_once(damaged_folder):
    with pytest.raises(DataError, match=r"10 of 12 files cannot be decoded as images") as caught:
        load_split(damaged_folder, evaluation_fraction=0.0)
    for name in DAMAGES:
        assert f"{damaged_folder}/{name} (" in str(caught.value)
    assert 'set `ImageFolder.damaged` to "skip"' in str(caught.value)


def test_damaged_files_can_be_skipped(damaged_folder, warnings):
    split = load_split(damaged_folder, evaluation_fraction=0.0, damaged="skip")
    assert split.num_examples == 2
    assert len(read_images(split)) == 2
    assert any("10 of 12 files are damaged and skipped: " in text for text in warnings())


def test_a_pipe_among_the_images_is_named(tmp_path):
    save_image(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b.png is a pipe; expected a regular file"):
        load_split(tmp_path, evaluation_fraction=0.0)


def test_a_file_that_became_a_pipe_is_named(tmp_path):
    save_image(tmp_path / "a.png")
    split = load_split(tmp_path, evaluation_fraction=0.0)
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png is a pipe"):
        read_images(split)
