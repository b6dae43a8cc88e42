"""Models in training: losses of their blocks, layers that are refused, precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.small_trainers import NUM_EXAMPLES, assert_same, make_trainer, weights
from vaeflow.devices import cores
from vaeflow.errors import ConfigurationError
from vaeflow.layers import (
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    DenseEncoder,
    GaussianLikelihood,
    Layer,
)
from vaeflow.layers.base import build_chain, run_chain
from vaeflow.models import VAE, ConvVAE
from vaeflow.training import building


class Penalty(Layer):
    """Adds 1.5 for each example, on average."""

    def build(self, input_shape):
        """Has no variables."""

    def call(self, features):
        self.add_loss(1.5 * tf.reduce_mean(tf.ones_like(features)[:, 0]))
        return features


class PenalizedEncoder(DenseEncoder):
    """A dense encoder with a penalty two levels down."""

    def __init__(self, **kwargs):
        super().__init__((6,), **kwargs)
        self.blocks.append(Penalty())


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, pytest.param(4, marks=pytest.mark.long)])
def test_losses_of_blocks_are_counted_once(parts):
    def make_model():
        return VAE(3, PenalizedEncoder(), numpy_vae.blocks()["decoder"])

    trainer = make_trainer(make_model=make_model, gradient_accumulation_steps=parts)
    metrics = trainer.train_and_report(3)
    assert metrics["block_losses"] == pytest.approx(1.5, rel=1e-12)
    assert metrics["loss"] == pytest.approx(metrics["reconstruction_loss"] + metrics["kl"] + 1.5, rel=1e-12)


class FaultyEncoder(DenseEncoder):
    """Raises when it is called."""

    def call(self, images, training=None):
        raise ArithmeticError("a faulty block")


def test_a_faulty_block_is_found_before_training():
    with pytest.raises(ConfigurationError, match="a faulty block") as caught:
        make_trainer(make_model=lambda: VAE(3, FaultyEncoder((4,))))
    assert isinstance(caught.value.__cause__, ArithmeticError)


def convolutional():
    return ConvVAE(2, ConvEncoder((4,), units=(5,)), ConvDecoder((4,), units=(5,)))


def test_large_features_are_trained_on_in_rounds_that_fit_the_cache(monkeypatch):
    whole = make_trainer(make_model=convolutional)
    assert whole.replica_step.num_rounds == 1
    # The largest input is that of the dense layer and of the last convolution, 3x3x4.
    monkeypatch.setattr(cores, "_CACHED_BYTES", 2 * (3 * 3 * 4) * 8)
    monkeypatch.setattr(cores, "_FEWEST_IN_ROUNDS", 1)
    monkeypatch.setattr(cores, "_FEWEST_EXAMPLES", 4)
    monkeypatch.setattr(cores, "_num_cores", lambda: 2)
    cut = make_trainer(make_model=convolutional)
    assert (cut.replica_step.parallel_parts, cut.replica_step.num_rounds) == (2, 2)
    metrics, expected = (trainer.train_and_report(4) for trainer in (cut, whole))
    assert_same(weights(cut), weights(whole))
    assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-12)


class NormalizedEncoder(Layer):
    """Keeps moving statistics."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [DenseEncoder((6,)), keras.layers.BatchNormalization(synchronized=True, momentum=0.5)]

    def build(self, input_shape):
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images, training=None):
        return run_chain(self.blocks, images, training)


@pytest.mark.parametrize(
    ("layer", "advice"),
    [
        (keras.layers.Dropout(0.5), "draws Keras' noise.*vaeflow.random"),
        (keras.layers.BatchNormalization(), "synchronized=True"),
    ],
)
def test_layers_that_depend_on_the_number_of_replicas_are_refused(layer, advice):
    encoder = keras.Sequential([keras.layers.Flatten(), layer])
    model = VAE(num_latents=2, encoder=encoder)
    model.build((None, 4, 3, 2))
    building.refuse_dependence_on_replicas(model, 1)
    with pytest.raises(ConfigurationError, match=advice):
        building.refuse_dependence_on_replicas(model, 2)


def test_layers_that_do_not_are_not():
    blocks = [
        keras.layers.Flatten(),
        keras.layers.BatchNormalization(synchronized=True),
        keras.layers.Dense(3),
    ]
    model = VAE(num_latents=2, encoder=keras.Sequential(blocks))
    model.build((None, 4, 3, 2))
    building.refuse_dependence_on_replicas(model, 2)


class Counting(VAE):
    """Needs to know the size of the training set."""

    def __init__(self, num_examples=None, **kwargs):
        super().__init__(**kwargs)
        self.num_examples = num_examples


@pytest.mark.parametrize(("given", "expected"), [(None, NUM_EXAMPLES), (5, 5)])
def test_the_size_of_the_training_split_is_filled_in_where_it_is_not_given(given, expected):
    trainer = make_trainer(
        make_model=lambda: Counting(num_examples=given, num_latents=3, **numpy_vae.blocks())
    )
    assert trainer.model.num_examples == expected


@pytest.mark.slow
def test_making_a_trainer_takes_no_step():
    trainer = make_trainer(make_model=lambda: VAE(3, NormalizedEncoder(), numpy_vae.blocks()["decoder"]))
    normalization = trainer.model.encoder.blocks[1]
    np.testing.assert_array_equal(normalization.moving_mean.numpy(), np.zeros(6))
    np.testing.assert_array_equal(normalization.moving_variance.numpy(), np.ones(6))
    assert trainer.step == 0
    assert trainer.optimizer.iterations.numpy() == 0
    trainer.train_and_report(1)
    assert np.any(normalization.moving_mean.numpy())


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", [BernoulliLikelihood, lambda: GaussianLikelihood(0.5, "scalar")])
def test_mixed_precision_keeps_its_weights_in_float32(likelihood):
    def make_model():
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("mixed_bfloat16")
        return VAE(3, likelihood=likelihood(), **numpy_vae.blocks())

    trainer = make_trainer(make_model=make_model)
    first, last = [trainer.train_and_report(4)["loss"] for _ in range(6)][::5]
    assert last < first
    assert {variable.dtype for variable in trainer.model.variables} == {"float32"}
    assert trainer.model.encoder.compute_dtype == "bfloat16"
