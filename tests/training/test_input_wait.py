"""The time that is shown as waiting for input is the time by which input holds up the steps."""

import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import InMemorySplit
from vaeflow.models import VAE
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer

IMAGES = (np.random.RandomState(0).randint(0, 2, (8, 4, 4, 1)) * 255).astype(np.uint8)
NUM_STEPS = 8


def paused(tensor, seconds, lock=threading.Lock()):  # noqa: B008 One for all batches, which come one by one.
    """Returns a tensor after a pause that uses no core."""

    def pause(value):
        with lock:
            time.sleep(seconds)
        return value

    return tf.ensure_shape(tf.numpy_function(pause, [tensor], tensor.dtype), tensor.shape)


class SlowImages(InMemorySplit):
    """Images of which each batch takes some seconds."""

    def __init__(self, seconds):
        super().__init__(IMAGES)
        self.seconds = seconds

    def examples(self, indices):
        return super().examples(paused(indices, self.seconds))


class SlowVAE(VAE):
    """A model of which each step takes some seconds."""

    def __init__(self, seconds):
        super().__init__(num_latents=2)
        self.seconds = seconds

    def infer(self, batch, training=False):
        images = paused(batch["images"], self.seconds, threading.Lock())
        return super().infer({**batch, "images": images}, training)


def shown(input_seconds, step_seconds):
    settings = TrainingSettings(
        batch_size=2, steps_per_loop=NUM_STEPS, resident_data=False, compile_mode="none"
    )
    model = SlowVAE(step_seconds)
    trainer = Trainer(model, keras.optimizers.Adam(1e-3), SlowImages(input_seconds), settings)
    trainer.train(2)
    trainer.take_totals()
    trainer.train(NUM_STEPS)
    totals = trainer.take_totals()
    return totals.input_seconds / totals.seconds


@pytest.mark.slow
def test_input_that_comes_during_the_step_before_costs_nothing():
    assert shown(0.05, 0.1) < 0.2


@pytest.mark.long
def test_input_that_comes_later_costs_the_difference():
    # 0.1 of each 0.15 s, and less where the machine is busy with the steps.
    assert 0.3 < shown(0.15, 0.05) < 0.75
