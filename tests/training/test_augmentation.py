"""A training on augmented images: the same however it is cut, placed and resumed."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.fixtures import augment_on_replicas, places, small_priors, small_trainers, tiny_runs
from tests.fixtures.commands import REPOSITORY, Command
from tests.fixtures.small_trainers import BATCH, NUM_EXAMPLES, SEED, assert_same, make_trainer, weights
from vaeflow import random
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.augmentations import ColorJitter, RandomCrop, RandomFlip
from vaeflow.datasets.augmented import AugmentedSplit
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import ConfigurationError

HEIGHT, WIDTH = 6, 5  # Cut to 4 x 3.


def images():
    shape = (NUM_EXAMPLES, HEIGHT, WIDTH, 2)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def split():
    changes = [RandomCrop((4, 3)), RandomFlip(0.5, 0.5), ColorJitter(brightness=0.3, contrast=0.3)]
    return AugmentedSplit(InMemorySplit(images()), changes)


def trainer(**settings):
    return make_trainer(split=split(), **settings)


def train(own, last_step):
    while own.step < last_step:
        own.train_and_report(min(own.settings.steps_per_loop, last_step - own.step))
    return weights(own)


@functools.cache
def trained(num_steps):
    """Straight, from the device."""
    with tiny_runs.untraced():
        return train(trainer(), num_steps)


def by_hand(step):
    """The augmented batch of a step in NumPy, from the draws of each use: `[B, 4, 3, 2]`."""
    indices = ExampleOrder(NUM_EXAMPLES, BATCH, SEED).batch(step)
    pixels = images()[indices] / 255
    drawn = {}
    for number, (name, shape) in enumerate({"Crop": (2,), "Flip": (2,), "ColorJitter": (4,)}.items()):
        stream = f"augmentation {number}: {'Random' if number < 2 else ''}{name}"
        rows = []
        for use in range(step * BATCH, (step + 1) * BATCH):
            with random.keyed(SEED, stream, 0, use):
                rows.append(random.uniform((1, *shape), "float64").numpy()[0])
        drawn[name] = rows
    changed = []
    for pixel, crop, flip, color in zip(pixels, *drawn.values(), strict=True):
        row, column = int(crop[0] * 3), int(crop[1] * 3)
        image = pixel[row : row + 4, column : column + 3]
        image = image[:, ::-1] if flip[0] < 0.5 else image
        image = image[::-1] if flip[1] < 0.5 else image
        image = np.clip(image * (0.7 + 0.6 * color[0]), 0, 1)
        mean = image.mean()
        changed.append(np.clip(mean + (0.7 + 0.6 * color[1]) * (image - mean), 0, 1))
    return np.stack(changed)


@pytest.mark.slow
def test_a_step_takes_the_gradient_at_the_augmented_images():
    """Also in batch 2, which straddles two epochs."""
    with tiny_runs.untraced():
        own = trainer()
        variables = [tf.Variable(value) for value in small_trainers.twin_weights(own)]
        train(own, 3)
    for step in range(3):
        with tf.GradientTape() as tape:
            losses = small_trainers.hand_written_losses(variables, by_hand(step), step)
            loss = tf.reduce_mean(sum(losses))
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.05 * gradient)
    assert_same(small_trainers.twin_weights(own), [variable.numpy() for variable in variables], 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("resident", [True, False])
def test_a_run_resumes_in_the_middle_of_an_epoch(resident):
    with tiny_runs.untraced():
        whole = trainer()
        train(whole, 1)
        resumed = trainer(resident_data=resident)
        for variable, value in zip(resumed.model.weights, weights(whole), strict=True):
            variable.assign(value)
        resumed.resume_at(1)
        assert_same(train(resumed, 3), trained(3), 0)


@pytest.mark.slow
def test_parts_of_a_batch_add_up():
    with tiny_runs.untraced():
        own = trainer(gradient_accumulation_steps=4, resident_data=False)
        assert_same(train(own, 3), trained(3), 1e-12)


@pytest.mark.families
@pytest.mark.parametrize(
    ("compile_mode", "resident", "accumulation_steps", "first"),
    [  # Epochs end after 2.6, 5.3 and 7.9 steps.
        ("none", True, 2, 2),
        ("none", False, 1, 5),
        ("none", False, 2, 8),
        ("step", True, 2, 3),
        ("loop", True, 1, 5),
        ("loop", True, 2, 0),
    ],
)
def test_compiled_streamed_accumulated_and_resumed_runs_agree(
    compile_mode, resident, accumulation_steps, first
):
    whole = trainer()
    resumed = trainer(
        compile_mode=compile_mode, resident_data=resident, gradient_accumulation_steps=accumulation_steps
    )
    for variable, value in zip(resumed.model.weights, train(whole, first), strict=True):
        variable.assign(value)
    resumed.resume_at(first)
    assert_same(train(resumed, 9), train(whole, 9), 1e-9)


def test_blocks_begin_from_the_middle_of_images():
    own = make_trainer(make_model=small_priors.vamp_from_data, split=split())
    middles = images()[:, 1:5, 1:4] / 255
    for begun in own.model.prior.pseudo_inputs.numpy():
        assert any(np.allclose(begun, middle, atol=1e-15) for middle in middles)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_augmentations(tmp_path):
    with tiny_runs.untraced():
        tiny_runs.train(tmp_path, dataset=tiny_runs.dataset(augmentations=[RandomFlip()]), num_steps=1)
        for others in ([], [RandomFlip(0.25)], [RandomCrop(8), RandomFlip()]):
            changed = tiny_runs.dataset(augmentations=others)
            with pytest.raises(ConfigurationError, match=r"augmented by RandomFlip\(horizontal=0.5"):
                tiny_runs.train(tmp_path, dataset=changed, num_steps=2)


@pytest.mark.families
@pytest.mark.processes
@pytest.mark.parametrize("count", [2, 4])
def test_replicas_see_together_what_one_sees(tmp_path, count):
    """Of an array on the devices, of a stream, and of files of mixed sizes."""
    for number in range(8):
        path = tmp_path / ("test" if number == 7 else "train") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(places.images(8, 5 + number % 3, 6 + number % 4)[number]).save(path)
    running = Command("tests.fixtures.augment_on_replicas", [count, tmp_path], REPOSITORY)
    one = augment_on_replicas.all_seen(tf.distribute.MirroredStrategy(["CPU:0"]), tmp_path)
    finished = running.finish()
    assert finished.code == 0, finished.error
    several = json.loads(finished.out)
    assert several.pop("num_replicas") == count
    assert several.keys() == one.keys()
    for name, images in one.items():
        np.testing.assert_allclose(several[name], images, rtol=1e-12, atol=1e-12, err_msg=name)
        assert np.std(images) > 0.1
    np.testing.assert_array_equal(one["resident"], one["streamed"])
