"""What is checked: a small model, its batches, and a run of it."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.datasets import InMemoryCodes, InMemoryLatents, InMemorySplit, stored_batches
from vaeflow.devices import strategies
from vaeflow.models.base import Model
from vaeflow.models.batches import Batch
from vaeflow.models.terms import check_groups
from vaeflow.optimizers import Adam
from vaeflow.testing.faults import call
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer

BATCH_SIZE = 8
# As many as a run cuts for the cores of a CPU.
CUT_BATCH_SIZE = 64
NUM_STEPS = 6


def made(factory, image_shape) -> Any:
    """Makes a model and builds it, with the same weights each time."""
    keras.utils.set_random_seed(0)
    model = factory()
    if not isinstance(model, Model):
        raise AssertionError(f"the factory makes {model!r}, not a vaeflow.models.Model")
    call(model.build, (None, *image_shape))
    if getattr(model, "num_examples", 0) is None:
        model.num_examples = 1000  # The Trainer's part.
    return model


def pixels(image_shape, count=BATCH_SIZE) -> np.ndarray:
    """Makes images, uint8 `[count, H, W, C]`."""
    return np.random.default_rng(0).integers(0, 256, (count, *image_shape)).astype(np.uint8)


def content(model, image_shape, count=BATCH_SIZE) -> np.ndarray:
    """Makes what a model takes, as it is stored: images, codes, or latents, `[count, *image_shape]`."""
    generator = np.random.default_rng(0)
    if model.takes == "codes":
        return generator.integers(0, model.code_sizes, (count, *image_shape), dtype=np.int32)
    if model.takes == "latents":
        return generator.normal(size=(count, *image_shape)).astype(np.float32)
    return pixels(image_shape, count)


def labels(model, count=BATCH_SIZE) -> np.ndarray:
    """Makes labels for a model that reads them, int64 `[count, F]`."""
    return np.random.default_rng(1).integers(0, model.label_sizes, (count, len(model.label_sizes)))


def stored(model, image_shape, count=BATCH_SIZE) -> dict[str, tf.Tensor]:
    """Makes a batch as the input pipeline stores it."""
    batch = {"images": tf.constant(content(model, image_shape, count))}
    return batch | ({"labels": tf.constant(labels(model, count))} if "labels" in model.reads else {})


def floats(model, image_shape, count=BATCH_SIZE, dtype="float32") -> Batch:
    """Makes a batch as a model takes it."""
    batch = stored(model, image_shape, count)
    if model.takes == "codes":
        return batch
    scale = 1.0 if model.takes == "latents" else 255.0
    return batch | {"images": tf.cast(batch["images"], dtype) / scale}


def alike(batch) -> Batch:
    """Returns a batch in which every example is the first one."""
    return {name: tf.repeat(value[:1], value.shape[0], axis=0) for name, value in batch.items()}


def forward(model, batch, first_position=0, **arguments) -> Any:
    """Runs a model on a batch with keyed noise."""
    with random.keyed(0, "check", 0, first_position):
        return call(model.forward, batch, **arguments)


def terms_of(model, batch) -> Any:
    """Returns the terms of a model's objective in training."""

    def objective():
        with random.keyed(0, "check", 0):
            return model.objective(model.forward(batch, 0, training=True), 0)

    terms = call(objective)
    call(check_groups, terms, model.all_parameter_groups(None), model.joined_losses())
    return terms


def split_of(model, image_shape, count=BATCH_SIZE) -> InMemorySplit:
    """Makes a split with what a model takes and reads."""
    factors = {}
    if "labels" in model.reads:
        names = [f"label_{factor}" for factor in range(len(model.label_sizes))]
        factors = {"factors": labels(model, count), "factor_names": names, "factor_sizes": model.label_sizes}
    stored_content = content(model, image_shape, count)
    if model.takes == "codes":
        sizes = model.code_sizes if len(model.code_sizes) > 1 else model.code_sizes * image_shape[-1]
        return InMemoryCodes(stored_content, sizes, **factors)
    if model.takes == "latents":
        return InMemoryLatents(stored_content, **factors)
    return InMemorySplit(stored_content, **factors)


def trainer(
    factory, image_shape, optimizer=Adam, devices=("CPU:0",), batch_size=BATCH_SIZE, **settings: Any
) -> Trainer:
    """Makes a run of a model on CPU devices."""
    keras.utils.set_random_seed(0)
    strategy = strategies.mirrored(devices)
    with strategy.scope():
        model, made_optimizer = factory(), optimizer(1e-4)
    split = split_of(model, image_shape, 3 * batch_size - 1)
    chosen = TrainingSettings(
        batch_size=batch_size, steps_per_loop=NUM_STEPS, compile_mode="none", **settings
    )
    return call(Trainer, model, made_optimizer, split, chosen, strategy)


def run(of, num_steps) -> dict[str, float]:
    """Trains, and returns the means of the metrics."""
    return call(of.train_and_report, num_steps)


def part_of(batch) -> stored_batches.StoredBatch:
    """Returns a stored batch as a step takes it."""
    return stored_batches.StoredBatch(batch)
