"""A model of a family of its own, without latents or Gaussians, trains on the base class alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from vaeflow.datasets import InMemorySplit
from vaeflow.layers import DenseDecoder, DenseEncoder
from vaeflow.layers.base import build_chain
from vaeflow.models import Model, Term
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer


class Autoencoder(Model):
    """An autoencoder: no distribution anywhere."""

    class Forward:
        def __init__(self, images, outputs, block_losses, training):
            self.images, self.outputs = images, outputs
            self.block_losses, self.training = block_losses, training

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = DenseEncoder((6,)), DenseDecoder((6,))

    def build(self, input_shape):
        features = build_chain([self.encoder], input_shape)
        self.decoder.target_shape = input_shape[1:]
        build_chain([self.decoder], features)

    def call(self, images, training=False):
        return self.in_parts(self.decoder, self.in_parts(self.encoder, images))

    def forward(self, batch, step=0, training=False):
        images = batch["images"]
        return self.Forward(images, self(images, training=training), list(self.losses), training)

    def objective(self, forward, step):
        error = tf.math.squared_difference(forward.images, forward.outputs)
        return {"reconstruction_loss": Term(tf.reduce_sum(error, axis=[1, 2, 3]))}


@pytest.mark.slow
def test_it_trains():
    keras.utils.set_random_seed(0)
    split = InMemorySplit(tiny_runs.images(40))
    settings = TrainingSettings(batch_size=32, steps_per_loop=20, compile_mode="none")
    trainer = Trainer(Autoencoder(), keras.optimizers.Adam(0.01), split, settings)
    first, last = (trainer.train_and_report(20)["loss"] for _ in range(2))
    assert last < first
    assert trainer.replica_step.parallel_parts in (1, 2)


@pytest.mark.slow
def test_fit_and_evaluate_report_its_terms():
    model, images = Autoencoder(), tiny_runs.images(16) / 255.0
    model.compile(optimizer="adam")
    history = model.fit(images, epochs=1, batch_size=8, verbose=0).history
    assert history.keys() == {"loss", "reconstruction_loss"}
    assert model.evaluate(images, return_dict=True, verbose=0).keys() == history.keys()


def test_a_model_without_an_objective_says_so():
    class Unfinished(Autoencoder):
        objective = Model.objective

    model = Unfinished()
    with pytest.raises(NotImplementedError, match="Unfinished must implement `objective`"):
        model.objective(model.forward({"images": np.zeros((2, 8, 8, 1), np.float32)}), 0)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [None, tf.distribute.OneDeviceStrategy("CPU:0")], ids=["none", "one"])
def test_any_strategy_or_none_gives_the_same_weights(strategy):
    def weights(strategy):
        keras.utils.set_random_seed(0)
        scope = (strategy or tf.distribute.get_strategy()).scope()
        with scope:
            model, optimizer = tiny_runs.model(), keras.optimizers.SGD(0.01)
        settings = TrainingSettings(batch_size=8, compile_mode="none", ema_decay=0.9)
        trainer = Trainer(model, optimizer, InMemorySplit(tiny_runs.images(40)), settings, strategy)
        trainer.train(5)
        return [weight.numpy() for weight in model.weights]

    mirrored = weights(tf.distribute.MirroredStrategy(["CPU:0"]))
    for one, other in zip(weights(strategy), mirrored, strict=True):
        np.testing.assert_array_equal(one, other)
