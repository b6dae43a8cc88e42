"""Damaged files of every format are read, or named in one line: no other exception, and no hang."""

import gzip
import signal

import h5py
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vaeflow.datasets import MNIST, Arrays, ImageFolder, TFRecords
from vaeflow.datasets.pipeline import readable_errors
from vaeflow.errors import ConfigurationError, DataError

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 28, 28, 3)).astype(np.uint8)
MOST_SECONDS = 30


def write_image(path):
    Image.fromarray(IMAGES[0]).save(path)


def write_npy(path):
    np.save(path, IMAGES)


def write_npz(path):
    np.savez_compressed(path, images=IMAGES, labels=np.arange(6))


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("group/images", data=IMAGES, compression="gzip")
        file["link"] = h5py.SoftLink("/group/images")


def write_idx(path):
    content = b"\0\0\x08\x03" + np.array([6, 28, 28], ">u4").tobytes() + IMAGES[..., 0].tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_records(path):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in IMAGES:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(image).numpy()]))
            features = tf.train.Features(feature={"image": value})
            writer.write(tf.train.Example(features=features).SerializeToString())


def read_arrays(path):
    key = {".npz": "images", ".h5": "link"}.get(path.suffix)
    return Arrays(str(path), key=key, evaluation_fraction=0.0).load("train")


def read_images(path):
    return ImageFolder(str(path.parent), image_size=(8, 8), evaluation_fraction=0.0).load("train")


def read_idx(path):
    labels = path.parent / "train-labels-idx1-ubyte"
    labels.write_bytes(b"\0\0\x08\x01\0\0\0\6" + bytes(6))
    return MNIST(str(path.parent)).load("train")


def read_records(path):
    return TFRecords(str(path), shape=(8, 8, 3), evaluation_fraction=0.0, cache=False).load("train")


FORMATS = {
    **{f"a.{kind}": (write_image, read_images) for kind in ("png", "jpg", "webp", "gif", "bmp", "tiff")},
    "a.npy": (write_npy, read_arrays),
    "a.npz": (write_npz, read_arrays),
    "a.h5": (write_hdf5, read_arrays),
    "train-images-idx3-ubyte": (write_idx, read_idx),
    "train-images-idx3-ubyte.gz": (write_idx, read_idx),
    "a.tfrecord": (write_records, read_records),
}


def damaged(content, random):
    """Flips bits, cuts, lengthens, or overwrites a part of a file, more often near its beginning."""
    content = bytearray(content)
    kind = random.choice(["flip", "flip the header", "cut", "grow", "overwrite", "repeat"])
    places = min(len(content), 64) if kind == "flip the header" else len(content)
    first, length = int(random.randint(places)), int(random.randint(1, 40))
    if kind.startswith("flip"):
        for place in random.randint(0, places, random.randint(1, 8)):
            content[place] ^= 1 << random.randint(8)
    elif kind == "cut":
        del content[first:]
    elif kind == "grow":
        content[first:first] = random.bytes(length)
    elif kind == "overwrite":
        content[first : first + length] = random.choice([b"\0", b"\xff", random.bytes(1)]) * length
    else:
        content += content[first:]
    return bytes(content)


class StillReadingError(BaseException):
    """Not an `Exception`, which a reader might take for damage."""


@pytest.fixture
def clock():
    """Ends a test that hangs."""

    def ring(*_):
        raise StillReadingError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(MOST_SECONDS)
    yield lambda: signal.alarm(MOST_SECONDS)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refusal(read, path):
    """Reads all images of a file; returns the message if that is refused."""
    try:
        with readable_errors():
            split = read(path)
            images = split.examples(tf.range(split.num_examples, dtype=tf.int64))
    except (DataError, ConfigurationError) as error:
        return str(error)
    assert images.shape == (split.num_examples, *split.shape)
    return None


def check_damage(folder, name, seed, count, clock):
    write, read = FORMATS[name]
    path, random = folder / name, np.random.RandomState(seed)
    write(path)
    content = path.read_bytes()
    for trial in range(count):
        clock()
        path.write_bytes(damaged(content, random))
        message = refusal(read, path)
        if message is not None:
            assert str(folder) in message, f"trial {trial} of seed {seed}"
            assert len(message.splitlines()) == 1, f"trial {trial} of seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_read_or_named(tmp_path, name, clock):
    check_damage(tmp_path, name, seed=0, count=12, clock=clock)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(1, 11))
@pytest.mark.parametrize("name", FORMATS)
def test_much_damage_is_read_or_named(tmp_path, name, seed, clock):
    check_damage(tmp_path, name, seed, count=300, clock=clock)


PLAIN_NAMES = ["lr=[1e-3]", "*", "?", "{a,b}", "~", "a b", "é", "日本", "#x", "%s", "-v", "a" * 200]
STRANGE_NAMES = ["\n", "\x1b[31m", "\udcff"]
NAMED = ("a.png", "a.npy", "a.h5", "a.tfrecord")


@pytest.fixture
def place(tmp_path):
    """Writes an intact file in a folder, both of which have a name; returns its path."""

    def write(name, kind):
        (tmp_path / name).mkdir(exist_ok=True)
        FORMATS[kind][0](tmp_path / kind)
        return (tmp_path / kind).rename(tmp_path / name / f"{name}.{kind}")

    return write


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMED)
def test_names_that_are_patterns_elsewhere_are_read(place, kind, clock):
    for name in PLAIN_NAMES:
        assert refusal(FORMATS[kind][1], place(name, kind)) is None, name


@pytest.mark.parametrize("kind", NAMED)
def test_names_that_no_terminal_shows_are_read_or_refused(place, kind, clock):
    for name in STRANGE_NAMES:
        path = place(name, kind)
        try:
            message = refusal(FORMATS[kind][1], path)
        except ValueError as error:  # As validation raises it, before it is given its place in a gin file.
            message = str(error)
        assert message is None or "must be a local path" in message, name
