"""Objects with `__len__` and `__getitem__`: their images, labels and splits, and what is no such object."""

import io
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.fixtures import tiny_runs
from tests.fixtures.image_folders import read_images
from vaeflow import config, registry
from vaeflow.datasets import ImageFolder, InMemorySplit, RandomAccess
from vaeflow.datasets.augmentations import RandomCrop
from vaeflow.datasets.pipeline import read_split, readable_errors
from vaeflow.errors import ConfigurationError, DataError

NOISE = np.random.RandomState(0).randint(0, 256, (12, 6, 5, 3)).astype(np.uint8)
DICTIONARIES = [{"image": image, "label": number % 3} for number, image in enumerate(NOISE)]
PAIRS = [(image, number % 3) for number, image in enumerate(NOISE)]


class PillowImages:
    """Records as Hugging Face's `Dataset` gives them, of which it also reads several at once."""

    def __init__(self, images=NOISE):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if not isinstance(index, int):
            raise TypeError(f"expected an int, got {type(index)}")
        return {"image": Image.fromarray(self.images[index]), "label": index % 3}

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def png(image):
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return written.getvalue()


def array_records(folder):
    """A real file of array_record, a PNG in each record."""
    files = pytest.importorskip("array_record.python.array_record_module")
    sources = pytest.importorskip("array_record.python.array_record_data_source")
    writer = files.ArrayRecordWriter(str(folder / "a.array_record"), "group_size:1")
    for image in NOISE:
        writer.write(png(image))
    writer.close()
    return sources.ArrayRecordDataSource([str(folder / "a.array_record")])


def of_grain(folder):
    """A real data set of grain, whose records are made as they are read."""
    return pytest.importorskip("grain").MapDataset.source(NOISE).map(lambda image: {"x": image})


SOURCES = {
    "dictionaries": (lambda folder: DICTIONARIES, {"image_key": "image", "label_key": "label"}),
    "pairs": (lambda folder: PAIRS, {"image_key": 0, "label_key": 1}),
    "arrays": (lambda folder: NOISE, {}),
    "pillow": (lambda folder: PillowImages(), {"image_key": "image", "label_key": "label"}),
    "encoded": (lambda folder: [{"image": {"bytes": png(image), "path": None}} for image in NOISE],
                {"image_key": "image"}),
    "array_record": (array_records, {"thread_safe": True}),
    "grain": (of_grain, {"image_key": "x", "thread_safe": True}),
}  # fmt: skip


def held_out(count, fraction=0.1):
    """The places of evaluation, as documented: the same in every run."""
    order = np.random.RandomState(20180717).permutation(count)
    return np.sort(order[: max(1, round(fraction * count))])


@pytest.mark.parametrize("kind", SOURCES)
def test_both_splits_are_read(tmp_path, kind):
    make, settings = SOURCES[kind]
    dataset = RandomAccess(make(tmp_path), **settings)
    places = {"evaluation": held_out(12)}
    places["train"] = np.setdiff1d(np.arange(12), places["evaluation"])
    for name, chosen in places.items():
        split = dataset.load(name)
        assert (split.shape, split.dtype) == ((6, 5, 3), "uint8")
        np.testing.assert_array_equal(read_images(split), NOISE[chosen])
        if "label_key" in settings:
            assert split.factor_sizes == (3,)
            np.testing.assert_array_equal(split.factors(np.arange(len(chosen)))[:, 0], chosen % 3)
    assert split.factor_names == (("label",) if "label_key" in settings else ())


def test_an_object_for_evaluation_is_read_whole():
    dataset = RandomAccess(NOISE[:8], NOISE[8:])
    assert dataset.load("train").num_examples == 8
    np.testing.assert_array_equal(read_images(dataset.load("evaluation")), NOISE[8:])


def test_in_memory_they_are_the_same():
    settings = {"image_key": "image", "label_key": "label", "image_size": (4, 4)}
    streamed, held = (
        RandomAccess(PillowImages(), in_memory=in_memory, **settings).load("train")
        for in_memory in (False, True)
    )
    assert isinstance(held, InMemorySplit)
    np.testing.assert_array_equal(held.array, read_images(streamed))
    indices = tf.range(held.num_examples, dtype=tf.int64)
    np.testing.assert_array_equal(held.labels(indices), streamed.labels(indices))


CROP = {"augmentations": [RandomCrop((5, 4))]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": 7, **CROP},
        pytest.param({"image_size": (4, 4)}, marks=pytest.mark.long),
        pytest.param({"image_size": None, **CROP}, marks=pytest.mark.long),
    ],
)
def test_images_of_other_sizes_become_those_of_a_folder(tmp_path, settings):
    """Scaled to a size, by the shorter side, and cropped in their own sizes."""
    images = [NOISE[number].repeat(2 + number % 2, number % 2) for number in range(10)]
    for number, image in enumerate(images):
        path = tmp_path / ("test" if number > 7 else "train") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    indices, first_use = tf.range(8, dtype=tf.int64), tf.constant(16, tf.int64)

    def read(dataset):
        split = read_split(dataset, "train", augmented=True)
        if settings["image_size"] == (4, 4):
            return split.examples(indices).numpy()
        return split.training_examples(indices, 3, first_use).numpy()

    expected = read(ImageFolder(tmp_path, **settings))
    for records in (PillowImages(images[:8]), [{"image": png(each)} for each in images[:8]]):
        found = read(RandomAccess(records, images[8:], image_key="image", **settings))
        np.testing.assert_array_equal(found, expected)


def test_floats_and_ranges_are_those_of_arrays():
    floats = NOISE / 255
    split = RandomAccess(list(floats), evaluation_fraction=0.5).load("train")
    assert split.dtype == "float32"
    kept = np.setdiff1d(np.arange(12), held_out(12, 0.5))
    np.testing.assert_array_equal(read_images(split), floats[kept].astype(np.float32))
    first = np.moveaxis(NOISE.astype(np.int16), 3, 1)
    split = RandomAccess(list(first), NOISE, layout="NCHW", pixel_range=(0, 255)).load("train")
    np.testing.assert_allclose(read_images(split), floats, atol=1e-6)


def test_grey_images_have_one_channel():
    grey = [Image.fromarray(image[..., 0]) for image in NOISE]
    for records in (grey, [png(image[..., 0]) for image in NOISE], NOISE[..., 0]):
        images = read_images(RandomAccess(records, evaluation=PAIRS).load("train"))
        np.testing.assert_array_equal(images, NOISE[..., :1])
    assert RandomAccess(grey, channels=3).load("train").shape == (6, 5, 3)


def test_several_labels_of_a_record():
    records = [(image, [number % 2, number % 5], number % 3) for number, image in enumerate(NOISE)]
    dataset = RandomAccess(records, PAIRS, image_key=0, label_key=[1, 2])
    split = dataset.load("train")
    assert split.factor_names == ("label_0", "label_1", "label_2")
    assert split.factor_sizes == (2, 5, 3)
    assert split.factors(np.array([7])).tolist() == [[1, 2, 1]]
    named = RandomAccess(
        records, PAIRS, image_key=0, label_key=[2, 1], label_names=["a", "b", "c"], num_classes=[9, 9, 9]
    )
    assert named.load("train").factor_names == ("a", "b", "c")
    assert named.load("train").factor_sizes == (9, 9, 9)


def test_it_is_opened_at_the_first_reading():
    opened = []
    dataset = RandomAccess(lambda: opened.append(1) or NOISE)
    assert not opened
    dataset.load("train")
    dataset.load("evaluation")
    assert opened == [1]


class OneAtATime(PillowImages):
    """Fails where two threads read at a time."""

    def __init__(self):
        super().__init__()
        self.free = threading.Lock()

    def __getitems__(self, indices):
        assert self.free.acquire(blocking=False), "another thread reads"
        time.sleep(0.005)
        self.free.release()
        return super().__getitems__(indices)


def test_records_are_read_by_one_thread_at_a_time():
    split = RandomAccess(OneAtATime(), image_key="image", cache=False).load("train")
    rows = tf.data.Dataset.range(8).batch(2)
    for number, images in enumerate(rows.map(split.examples, 4)):
        np.testing.assert_array_equal(images, read_images(split)[2 * number : 2 * number + 2])


def test_the_fingerprint_changes_with_the_images_and_labels():
    def fingerprint(images, labels=range(12)):
        records = list(zip(images, labels, strict=True))
        return read_split(RandomAccess(records, image_key=0, label_key=1), "train").fingerprint()

    changed = NOISE.copy()
    changed[:, 0, 0, 0] ^= 1
    before = fingerprint(NOISE)
    assert before == fingerprint(NOISE.copy())
    assert before.startswith("11 images of 6 x 5 x 3, uint8, content ")
    assert len({before, fingerprint(changed), fingerprint(NOISE, [1] * 12)}) == 3


@registry.source
def noisy_records():
    return PillowImages()


@pytest.mark.slow
def test_a_gin_file_names_a_source_of_a_plug_in(tmp_path):
    statements = [
        "train.model = @VAE",
        "VAE.num_latents = 2",
        "train.dataset = @RandomAccess()",
        "RandomAccess.train = @noisy_records()",
        "RandomAccess.image_key = 'image'",
        "RandomAccess.validation_fraction = 0.2",
        "train.num_steps = 1",
        "train.batch_size = 2",
        "train.compile_mode = 'none'",
        "train.callbacks = []",
    ]
    with tiny_runs.configuration_of_its_own(), tiny_runs.untraced():
        config.load("train", [], statements)
        result = config.call("train", workdir=tmp_path / "run")
    assert result["step"] == 1


def test_the_same_object_for_both_is_refused():
    with pytest.raises(ConfigurationError, match="are the same object"):
        RandomAccess(NOISE, NOISE)


def test_it_holds_no_mixed_sizes_in_memory():
    with pytest.raises(ConfigurationError, match="holds images of one size"):
        RandomAccess(NOISE, image_size=8, augmentations=[RandomCrop(4)], in_memory=True)


REFUSED = [
    (7, {}, "must be an object with `__len__` and `__getitem__`"),
    ([], {}, "holds no records"),
    (DICTIONARIES, {"image_key": "picture"}, "record 0 .* holds 'image', 'label'; set .*image_key"),
    (PAIRS, {"image_key": 2}, "holds 0, 1; set `RandomAccess.image_key`"),
    (DICTIONARIES, {}, "holds 'image', 'label', and no image alone; set"),
    (["a.png"] * 9, {}, "the image is 'a.png'"),
    (NOISE, {"image_key": "x"}, "expected a mapping, a tuple or a list"),
    (NOISE.astype(np.int32), {}, "holds int32; expected uint8"),
    (NOISE // 100, {}, "look black"),
    (list(NOISE / 100), {}, "a pixel is"),
    (DICTIONARIES, {"image_key": "image", "label_key": "image"}, "the label 'image' is ndarray of the shape"),
    (PAIRS, {"image_key": 0, "label_key": 1, "label_names": ["a", "b"]}, "list of 1 different names"),
    (NOISE, {"channels": 1}, "`RandomAccess.channels` is 1, and the arrays"),
    (NOISE / 255, {"image_size": (4, 4)}, "expected uint8 from 0 to 255"),
    ([b"no image"] * 9, {}, "record 0 .* cannot be decoded"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "settings", "message"), REFUSED)
def test_what_is_no_such_object_is_refused(records, settings, message):
    with pytest.raises((DataError, ConfigurationError), match=message):
        RandomAccess(records, **settings).load("train").factors(np.arange(1))


def read_all(split):
    """Reads images and labels inside `tf.data`."""
    rows = tf.data.Dataset.range(split.num_examples).batch(5)
    return list(rows.map(lambda indices: (split.examples(indices), split.labels(indices))))


def test_a_bad_record_is_named_when_it_is_read():
    smaller = [*NOISE[:9], NOISE[9, :4]]
    damaged = [png(image) for image in NOISE[:9]] + [b"\x89PNG"]
    unlabelled = [*PAIRS[:9], (NOISE[9], -1)]
    for records, settings in ((smaller, {}), (damaged, {}), (unlabelled, {"image_key": 0, "label_key": 1})):
        dataset = RandomAccess(records, NOISE, num_classes=3, cache=False, **settings)
        with pytest.raises(DataError, match=r"record 9 of `RandomAccess\.train`"), readable_errors():
            read_all(dataset.load("train"))


class Failing(PillowImages):
    """An object whose own code is wrong."""

    def __getitems__(self, indices):
        raise KeyError("missing")


def test_an_error_of_the_object_names_it():
    with pytest.raises(DataError, match=r"`Failing.__getitem__` fails: KeyError: 'missing'"):
        RandomAccess(Failing()).load("train")
