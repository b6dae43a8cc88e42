"""What a training step sees of augmented images, and what everything else sees."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import places, tiny_runs
from vaeflow import random
from vaeflow.datasets import InMemorySplit, RenderedSprites, pipeline, stored_batches
from vaeflow.datasets.augmentations import Augmentation, ColorJitter, RandomCrop, RandomFlip
from vaeflow.datasets.augmented import AugmentedSplit
from vaeflow.datasets.base import Split
from vaeflow.datasets.checks import check_augmentations
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import ConfigurationError

NUM = 7
CHANGES = [RandomCrop((5, 6)), RandomFlip(0.5, 0.5), ColorJitter(0.2, 0.2, 0.2, 0.1)]


class Stream(Split):
    """Images that are not held as an array."""

    def __init__(self, count, dtype="uint8", content="images"):
        super().__init__(count, (8, 9, 3), dtype, content)

    def examples(self, indices):
        return tf.gather(tf.constant(places.images(self.num_examples)), indices)


def split_of(augmentations, **settings):
    return AugmentedSplit(InMemorySplit(places.images(NUM), **settings), augmentations)


def by_use(split, batch_size, num_uses, **settings):
    """The images of the first uses, in order."""
    steps = range(-(-num_uses // batch_size))
    return np.concatenate([places.augmented(split, step, batch_size, **settings) for step in steps])[
        :num_uses
    ]


@pytest.mark.slow
def test_a_draw_belongs_to_an_example_and_an_epoch_whatever_the_batch():
    split = split_of(CHANGES)
    expected = by_use(split, 2, 4 * NUM)
    for batch_size in (3, 7, 10, 28):  # Batches that straddle epochs, and that hold several.
        np.testing.assert_array_equal(by_use(split, batch_size, 4 * NUM), expected)


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_part_of_a_batch_has_the_draws_of_its_positions(cut):
    split = split_of(CHANGES)
    parts = [places.augmented(split, 2, 6, last=cut), places.augmented(split, 2, 6, first=cut)]
    np.testing.assert_array_equal(np.concatenate(parts), places.augmented(split, 2, 6))


def test_an_example_is_cropped_elsewhere_in_each_epoch():
    found = by_use(split_of([RandomCrop((5, 6))]), 40 * NUM, 400 * NUM)
    examples = np.rint(found[:, 0, 0, 2] / places.STRIDE).astype(int)
    for example in range(NUM):
        own = places.corners(found[examples == example])
        counts = np.bincount(own[:, 0] * 4 + own[:, 1], minlength=16)
        assert counts.sum() == 400
        assert np.sum((counts - 25) ** 2 / 25) < 44.3  # Once in 10,000 times if all are equally likely.
        # Consecutive epochs agree as often as independent draws do, 25 times of 399, with a deviation of 4.8.
        assert np.all(own[1:] == own[:-1], axis=1).sum() < 50


def test_the_examples_of_an_epoch_are_cropped_at_places_of_their_own():
    own = places.corners(by_use(split_of([RandomCrop((5, 6))]), NUM, NUM))
    assert len(np.unique(own, axis=0)) > 2


def test_another_seed_draws_otherwise():
    split = split_of([RandomCrop((5, 6))])
    one, other = (places.corners(by_use(split, NUM, 100, seed=seed)) for seed in (3, 4))
    assert np.all(one == other, axis=1).mean() < 0.25


def test_augmentations_of_one_class_draw_independently():
    image = np.zeros((1, 1, 2, 1), np.uint8)
    image[0, 0, 0] = 255
    split = AugmentedSplit(InMemorySplit(image), [RandomFlip(), RandomFlip()])
    twice = by_use(split, 100, 2000)[:, 0, 0, 0] == 0
    assert 0.45 < twice.mean() < 0.55  # The same draws would undo one another.


@pytest.mark.slow
def test_a_color_does_not_move_a_crop():
    plain, colored = (by_use(split_of(changes), NUM, 50) for changes in (CHANGES[:2], CHANGES))
    with random.keyed(3, "augmentation 2: ColorJitter", 0, 0):
        expected = CHANGES[2].augment(tf.constant(plain / 255))
    np.testing.assert_allclose(colored, 255 * expected, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("source", [InMemorySplit(places.images(NUM)), Stream(NUM)])
def test_streamed_batches_are_augmented_as_those_on_the_device(source):
    split = AugmentedSplit(source, CHANGES)
    order = ExampleOrder(NUM, 6, seed=3)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    batches = pipeline.training_batches(split, order, strategy, 5)
    for step in range(5, 8):
        stored = stored_batches.StoredBatch(next(batches)).part(0, 6)
        assert stored["images"].shape == (6, 8, 9, 3)
        with pipeline.keyed_batch(split, stored, "float64", 3, "train", step, 0, 6) as batch:
            np.testing.assert_array_equal(255 * batch["images"], places.augmented(split, step, 6))


def test_dynamic_binarization_draws_from_the_augmented_pixels():
    """With the noise that it draws without augmentations."""
    split = split_of(CHANGES, binarization="dynamic")
    with random.keyed(3, "train", 1, 0):
        noise = random.uniform((6, 5, 6, 3), "float64").numpy()
    expected = noise <= places.augmented(split_of(CHANGES), 1, 6) / 255
    np.testing.assert_array_equal(places.augmented(split, 1, 6) / 255, expected)
    assert 0 < expected.mean() < 1


def test_a_model_is_built_for_the_cropped_images():
    split = split_of(CHANGES)
    assert split.shape == (5, 6, 3)
    assert split.stored_shape == (8, 9, 3)
    assert stored_batches.blank_batch(split, 2)["images"].shape == (2, 8, 9, 3)


def test_outside_of_training_the_middle_is_seen():
    split = split_of(CHANGES, binarization="none")
    stored = stored_batches.stored_batch(split, tf.constant([2, 5], tf.int64))
    with pipeline.keyed_batch(split, stored, "float64", 0, "images", 0, 0) as batch:
        expected = places.images(NUM)[[2, 5], 1:6, 1:7] / 255
        np.testing.assert_allclose(batch["images"], expected, atol=1e-15)


@pytest.mark.parametrize("name", ["train", "evaluation"])
def test_read_splits_are_the_middle(name):
    dataset = tiny_runs.dataset(augmentations=[RandomCrop(5), RandomFlip(1.0)])
    whole = tiny_runs.dataset().load(name).array
    split = pipeline.read_split(dataset, name)
    np.testing.assert_array_equal(split.array, whole[:, 1:6, 1:6])
    assert split.shape == (5, 5, 1)


def test_the_middle_of_images_that_are_drawn_on_demand():
    dataset = RenderedSprites(image_size=16, augmentations=[RandomCrop((12, 8))], binarization="dynamic")
    split = pipeline.read_split(dataset, "evaluation")
    indices = tf.range(3, dtype=tf.int64)
    expected = dataset.load("evaluation").examples(indices)[:, 2:14, 4:12]
    np.testing.assert_array_equal(split.examples(indices), expected)
    assert split.binarization == "dynamic"


def test_a_split_without_augmentations_is_the_source_itself():
    dataset = tiny_runs.dataset()
    assert type(pipeline.read_split(dataset, "train", augmented=True)) is InMemorySplit


def test_a_static_binarization_is_cropped_and_flipped_only():
    dataset = tiny_runs.dataset(binarization="static", augmentations=CHANGES[:2])
    assert set(np.unique(places.augmented(pipeline.read_split(dataset, "train", True), 0, 6))) == {0, 255}
    with pytest.raises(ConfigurationError, match=r"ColorJitter makes pixels.*MemoryDataset.binarization"):
        tiny_runs.dataset(binarization="static", augmentations=[ColorJitter(brightness=0.1)])


def test_the_crop_comes_first():
    with pytest.raises(ConfigurationError, match="must begin with its only crop"):
        tiny_runs.dataset(augmentations=[RandomFlip(), RandomCrop(5)])


@pytest.mark.parametrize("value", [RandomCrop(5), [RandomCrop], ["RandomFlip"], 3])
def test_augmentations_are_a_list(value):
    with pytest.raises(ValueError, match=r"`MemoryDataset.augmentations` must be a list of Augmentations"):
        tiny_runs.dataset(augmentations=value)


def test_codes_are_not_augmented():
    split = Stream(2, "int32", "codes")
    with pytest.raises(ConfigurationError, match="augmentations change images, and this data holds codes"):
        AugmentedSplit(split, [RandomFlip()])


def test_the_record_of_the_data_names_the_augmentations():
    plain = InMemorySplit(places.images(NUM)).fingerprint()
    assert split_of([RandomCrop(5), RandomFlip()]).fingerprint() == (
        f"{plain}, augmented by RandomCrop(size=(5, 5)), RandomFlip(horizontal=0.5, vertical=0.0)"
    )


class Inversion(Augmentation):
    """A user's own."""

    def __init__(self, white=1.0, result=lambda images: images):
        self.white = white
        self.result = result

    def augment(self, images):
        return self.result(self.white - images)


def test_an_augmentation_of_the_user():
    split = split_of([Inversion()])
    check_augmentations(split)
    found = places.augmented(split, 0, NUM)
    order = ExampleOrder(NUM, NUM, 3).batch(0)
    np.testing.assert_allclose(found, 255.0 - places.images(NUM)[order], atol=1e-10)


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (Inversion(result=lambda images: images[:, 1:]), r"must return a tensor of the shape \(3, 8, 9, 3\)"),
        (Inversion(result=lambda images: tf.cast(images, "float64")), "must .* and float32, as it was given"),
        (Inversion(result=lambda images: None), "must .* it returned None"),
        (Inversion(white=1.5), r"must return pixels in \[0, 1\], they are 0.8\d+ to 1.5; clip or scale"),
        (Inversion(result=lambda images: images / 0.0), "must return pixels in"),
        (Inversion(result=lambda images: images.nothing), "fails: AttributeError"),
    ],
)
def test_what_an_augmentation_of_the_user_returns_is_checked(faulty, message):
    with pytest.raises(ConfigurationError, match=rf"`Inversion.augment` {message}"):
        check_augmentations(split_of([faulty]))


def test_settings_that_are_not_plain_are_left_out_of_the_record():
    assert repr(Inversion()) == "Inversion(white=1.0)"
