"""The fingerprint of each kind of split changes with its data, and with nothing else."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vaeflow.datasets import Arrays, ImageFolder, InMemorySplit, RenderedSprites, TFRecords
from vaeflow.datasets.pipeline import read_split

NOISE = np.random.RandomState(0).randint(0, 256, (30, 5, 7, 3)).astype(np.uint8)


def write_array(folder, images):
    np.save(folder / "a.npy", images)
    return Arrays(str(folder / "a.npy"))


def write_images(folder, images):
    for place, image in enumerate(images):
        # BMP files of one shape have one size.
        Image.fromarray(image).save(folder / f"{place:02}.bmp")
    return ImageFolder(str(folder))


def write_records(folder, images):
    with tf.io.TFRecordWriter(str(folder / "a.tfrecord")) as writer:
        for image in images:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(image).numpy()]))
            writer.write(
                tf.train.Example(features=tf.train.Features(feature={"image": value})).SerializeToString()
            )
    return TFRecords(str(folder / "a.tfrecord"))


SOURCES = [write_array, write_images, write_records]


def fingerprint(write, folder, images):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return read_split(write(folder, images), "train").fingerprint()


@pytest.mark.parametrize("write", SOURCES)
def test_other_images_have_another_fingerprint(tmp_path, write):
    before = fingerprint(write, tmp_path / "a", NOISE)
    changed = NOISE.copy()
    changed[:, 0, 0, 0] ^= 1
    assert fingerprint(write, tmp_path / "a", changed) != before
    assert fingerprint(write, tmp_path / "a", NOISE[:-2]) != before


@pytest.mark.parametrize("write", SOURCES)
def test_the_same_images_elsewhere_have_the_same(tmp_path, write):
    before = fingerprint(write, tmp_path / "a", NOISE)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b").iterdir():
        os.utime(path, (1, 1))
    again = {"write_array": Arrays, "write_images": ImageFolder, "write_records": TFRecords}[write.__name__]
    path = next((tmp_path / "b").iterdir()) if again is not ImageFolder else tmp_path / "b"
    assert read_split(again(str(path)), "train").fingerprint() == before


def test_it_can_be_read():
    described = InMemorySplit(NOISE).fingerprint()
    assert described.startswith("30 images of 5 x 7 x 3, uint8, content ")


def test_a_source_that_draws_names_no_content():
    described = read_split(RenderedSprites(image_size=16, num_evaluation=10), "evaluation").fingerprint()
    assert described == "10 images of 16 x 16 x 1, uint8"
