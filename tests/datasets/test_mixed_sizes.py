"""A folder of images of mixed sizes, cropped where they are decoded."""

import contextlib
import pathlib
import resource
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.fixtures import places
from vaeflow.datasets import ImageFolder, pipeline
from vaeflow.datasets.augmentations import RandomCrop, RandomFlip
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import ConfigurationError, DataError

SIZES = [(8, 9), (12, 8), (9, 11), (13, 8), (8, 8), (10, 10), (9, 9)]
CROP = (6, 5)


def save(folder, images, suffix="png"):
    for number, image in enumerate(images):
        path = folder / ("test" if number == 0 else "train") / f"{number:02}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


@pytest.fixture
def folder(tmp_path):
    """One image for evaluation, the others for training; the third channel is the number of the file."""
    save(tmp_path, [places.images(8, *size)[number] for number, size in enumerate(SIZES)])
    return tmp_path


def dataset(folder, augmentations=None, **settings):
    changes = [RandomCrop(CROP), RandomFlip()] if augmentations is None else augmentations
    return ImageFolder(folder, **{"image_size": None, "augmentations": changes, **settings})


def augmented(source):
    return pipeline.read_split(source, "train", augmented=True)


def batches(split, num_steps, batch_size=4):
    """Batches as training steps see them, in 0 … 255."""
    order = ExampleOrder(split.num_examples, batch_size, 3)
    read = tf.function(split.training_examples, autograph=False)
    for step in range(num_steps):
        first_use = tf.constant(step * batch_size, tf.int64)
        images = read(tf.constant(order.batch(step)), 3, first_use)
        yield 255 * split.training_floats(images, "float64", 3, first_use).numpy()


def test_each_image_is_cropped_somewhere_within_it(folder):
    split = augmented(dataset(folder, [RandomCrop(CROP)]))
    assert split.shape == split.stored_shape == (*CROP, 3)
    seen = {}
    for crops in batches(split, 5, batch_size=48):
        for crop, corner in zip(crops, places.corners(crops), strict=True):
            rows, columns = np.mgrid[:6, :5] + corner[:, None, None]
            np.testing.assert_allclose(crop[..., 0], 20 * rows, atol=1e-9)
            np.testing.assert_allclose(crop[..., 1], 20 * columns, atol=1e-9)
            seen.setdefault(round(crop[0, 0, 2] / 20), []).append(corner)
    assert seen.keys() == set(range(1, 7))
    for number, corners in seen.items():
        largest = np.array(SIZES[number]) - CROP
        assert np.all(np.min(corners, axis=0) == 0)
        assert np.all(np.max(corners, axis=0) <= largest)
        assert np.all(np.max(corners, axis=0) >= largest - 2)


@pytest.mark.slow
def test_images_of_one_size_are_cropped_where_the_device_would(tmp_path):
    save(tmp_path, places.images(7))
    on_host, on_device = (augmented(dataset(tmp_path, image_size=size)) for size in (None, (8, 9)))
    assert on_host.stored_shape == (6, 5, 3)
    assert on_device.stored_shape == (8, 9, 3)
    for one, other in zip(batches(on_host, 4), batches(on_device, 4), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_a_stream_that_resumes_in_an_epoch_crops_as_one_that_never_stopped(folder):
    """Whatever the batch size is."""
    split = augmented(dataset(folder))
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    stream = pipeline.training_batches(split, ExampleOrder(6, 4, 3), strategy, 2)
    stored = np.concatenate([next(stream)["images"] for _ in range(2)])
    found = 255 * split.training_floats(tf.constant(stored), "float64", 3, 8).numpy()
    np.testing.assert_array_equal(found, np.concatenate(list(batches(split, 8, 2)))[8:])


@pytest.mark.long
def test_outside_of_training_the_middle_is_seen(folder):
    for name, numbers in (("train", range(1, 7)), ("evaluation", [0])):
        split = pipeline.read_split(dataset(folder), name)
        images = split.examples(tf.range(split.num_examples, dtype=tf.int64)).numpy()
        for image, number in zip(images, numbers, strict=True):
            row, column = (np.array(SIZES[number]) - CROP) // 2
            expected = places.images(8, *SIZES[number])[number, row : row + 6, column : column + 5]
            np.testing.assert_array_equal(image, expected)


@pytest.mark.slow
def test_a_part_held_out_for_validation_is_cropped_as_well(folder):
    source = dataset(folder, [RandomCrop(CROP)], validation_fraction=0.4)
    trained = augmented(source)
    held_out = pipeline.read_split(source, "validation")
    seen = {round(crop[0, 0, 2] / 20) for crops in batches(trained, 4) for crop in crops}
    others = {round(image[0, 0, 2] / 20) for image in held_out.examples(tf.range(2, dtype=tf.int64)).numpy()}
    assert len(seen) == 4
    assert seen | others == set(range(1, 7))


def test_the_shorter_side_is_scaled(folder):
    split = augmented(dataset(folder, [RandomCrop(16)], image_size=16))
    for crops in batches(split, 2):
        # All rows of a landscape, or all columns of a portrait, at twice the size: they rise by 10 a pixel.
        spans = np.ptp(crops[..., :2], axis=(1, 2)).max(axis=1)
        assert np.all(spans > 100)


@contextlib.contextmanager
def peak_of_memory():
    """Yields a list that gets the largest growth of this process's memory inside, in bytes."""
    done, grown = threading.Event(), []

    def used():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def watch():
        first = used()
        most = first
        while not done.wait(0.002):
            most = max(most, used())
        grown.append(most - first)

    thread = threading.Thread(target=watch)
    thread.start()
    yield grown
    done.set()
    thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, 64])
def test_large_photographs_are_never_decoded_as_a_whole(tmp_path, size):
    """Each has 24 million pixels, 72 MB."""
    save(tmp_path, [places.images(1, 64, 12)[0]])
    photograph = Image.fromarray(places.images(1)[0]).resize((6000, 4000))
    photograph.save(tmp_path / "test" / "00.jpg", quality=50)
    for number in range(6):
        (tmp_path / "train").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "test" / "00.jpg", tmp_path / "train" / f"{number}.jpg")
    split = augmented(dataset(tmp_path, [RandomCrop(64)], image_size=size))
    read = batches(split, 2, batch_size=6)
    next(read)  # What TensorFlow takes once.
    with peak_of_memory() as grown:
        next(read)
    assert grown[0] < 72e6


def test_images_smaller_than_the_crop_are_named_before_the_training(folder):
    message = r"3 of 6 images are smaller than `RandomCrop.size`, 9x9: \S+/01.png \(12x8 pixels\), \S+03.png"
    with pytest.raises(DataError, match=message):
        dataset(folder, [RandomCrop(9)]).load("train")


def test_an_image_that_shrank_since_is_named(folder):
    split = augmented(dataset(folder))
    Image.fromarray(places.images(1, 8, 4)[0]).save(folder / "train" / "04.png")
    message = r"04.png is 8x4 pixels, smaller than `RandomCrop.size`, 6x5"
    with pytest.raises(DataError, match=message), pipeline.readable_errors():
        list(batches(split, 2))


def test_a_shorter_side_needs_a_crop(folder):
    with pytest.raises(ConfigurationError, match=r"scales the shorter side of the images; write \(64, 64\)"):
        ImageFolder(folder, image_size=64)


def test_a_crop_fits_the_shorter_side(folder):
    with pytest.raises(ConfigurationError, match=r"at most `ImageFolder.image_size`.* 8; got 6x9"):
        dataset(folder, [RandomCrop((6, 9))], image_size=8)


@pytest.mark.parametrize("size", [0, -5])
def test_a_shorter_side_is_positive(folder, size):
    with pytest.raises(ValueError, match=r"`ImageFolder.image_size` must be a positive integer"):
        dataset(folder, image_size=size)


def test_static_binarization_draws_no_pixels_of_mixed_sizes(folder):
    with pytest.raises(ConfigurationError, match=r"ImageFolder.binarization` must be .none. or .dynamic."):
        dataset(folder, binarization="static")
