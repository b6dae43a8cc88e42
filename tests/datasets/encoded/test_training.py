"""A model of latents is trained on what `Latents` draws."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import encoded_folders, tiny_runs
from vaeflow.datasets import Latents, pipeline
from vaeflow.errors import ConfigurationError
from vaeflow.layers.terms import Term
from vaeflow.models.base import Model
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Seen:
    """The latents of a batch, and their distance from what the model has learned."""

    images: tf.Tensor
    distance: tf.Tensor
    training: bool
    block_losses: tuple = ()


class Center(Model):
    """Learns the mean of latents."""

    takes = "latents"

    def build(self, input_shape):
        self.center = self.add_weight(shape=input_shape[1:], name="center")

    def forward(self, batch, step=0, training=False):
        distance = tf.reduce_mean(tf.math.squared_difference(batch["images"], self.center), axis=[1, 2, 3])
        return Seen(batch["images"], distance, training)

    def objective(self, forward, step):
        return {"distance": Term(forward.distance)}


def center_after(split, steps, resident):
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model, optimizer = Center(), keras.optimizers.SGD(0.5)
    settings = TrainingSettings(
        batch_size=4, steps_per_loop=5, compile_mode="none", resident_data=resident, seed=0
    )
    Trainer(model, optimizer, split, settings, strategy).train(steps)
    return model.center.numpy()


@pytest.mark.long
def test_drawn_latents_are_the_same_from_memory_and_from_the_shards(tmp_path):
    folder = encoded_folders.write_latents(tmp_path).path
    splits = [
        pipeline.read_split(Latents(str(folder), draw=True, in_memory=held), "train")
        for held in (True, False)
    ]
    held, streamed = (center_after(split, 5, split.array is not None) for split in splits)
    assert held.shape == (2, 3, 4)
    np.testing.assert_allclose(held, streamed, rtol=1e-5, atol=1e-5)
    # Without the noise it ends elsewhere.
    means = pipeline.read_split(Latents(str(folder)), "train")
    assert np.abs(center_after(means, 5, True) - held).max() > 0.01


def test_a_model_of_images_does_not_take_latents(tmp_path):
    split = Latents(str(encoded_folders.write_latents(tmp_path).path)).load("train")
    model = tiny_runs.model()
    with pytest.raises(ConfigurationError, match="VAE takes images, and the data are latents"):
        Trainer(
            model,
            keras.optimizers.SGD(),
            split,
            TrainingSettings(batch_size=4),
            tf.distribute.get_strategy(),
        )
