"""The base class of layers: building, tracking and `add_loss`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.layers import Decoder, DenseEncoder, Layer
from vaeflow.layers.base import build_chain, normalization_layer
from vaeflow.models import VAE


@keras.saving.register_keras_serializable(package="tests")
class Penalty(Layer):
    """Hands its input on and adds the mean of its examples' sums of squares."""

    def build(self, input_shape):
        """Has no variables."""

    def call(self, inputs):
        self.add_loss(tf.reduce_mean(tf.reduce_sum(tf.square(inputs), axis=1)))
        return inputs


@keras.saving.register_keras_serializable(package="tests")
class Wrapper(Layer):
    """Two levels above a `Penalty`."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner
        self.blocks = [DenseEncoder((4,), activation="tanh"), inner]

    def build(self, input_shape):
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images, training=None):
        features = images
        for block in self.blocks:
            features = block(features)
        return features


@keras.saving.register_keras_serializable(package="tests")
class Lazy(Layer):
    """Leaves its sub-layer to the first call, as much user code does."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(4)
        self.flatten = keras.layers.Flatten()

    def call(self, images):
        return self.dense(self.flatten(images))


def penalized_model():
    model = VAE(num_latents=2, encoder=Wrapper(Penalty()))
    model.build((None, 4, 4, 1))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_nested_loss_is_counted_once_in_each_pass(compiled):
    model = penalized_model()
    images = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
    features = model.encoder(images).numpy()
    expected = np.mean(np.sum(features**2, axis=1))

    def losses(images):
        return model.forward(images).block_losses

    for _ in range(2):
        found = (tf.function(losses) if compiled else losses)(tf.constant(images))
        assert len(found) == 1
        assert float(found[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_keras_loops_add_it_once(method):
    model = penalized_model()
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    images = np.random.default_rng(0).random((4, 4, 4, 1)).astype(np.float32)
    features = model.encoder(images).numpy()
    expected = np.mean(np.sum(features**2, axis=1))
    if method == "fit":
        logs = {name: values[0] for name, values in model.fit(images, verbose=0).history.items()}
    else:
        logs = model.evaluate(images, verbose=0, return_dict=True)
    assert logs["loss"] - logs["reconstruction_loss"] - logs["kl"] == pytest.approx(expected, rel=1e-3)


def test_weight_penalties_of_keras_layers_join_too():
    class Regularized(Layer):
        def __init__(self):
            super().__init__()
            self.blocks = [keras.layers.Flatten(), keras.layers.Dense(4, kernel_regularizer="l2")]

        def build(self, input_shape):
            build_chain(self.blocks, input_shape)

        def call(self, images):
            return self.blocks[1](self.blocks[0](images))

    model = VAE(num_latents=2, encoder=Regularized())
    images = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
    losses = model.forward(images).block_losses
    kernel = model.encoder.blocks[1].kernel.numpy()
    assert [float(loss) for loss in losses] == [pytest.approx(0.01 * np.sum(kernel**2), rel=1e-5)]


@pytest.mark.slow
def test_a_block_without_build_is_built_with_the_model(tmp_path):
    model = VAE(num_latents=2, encoder=Lazy())
    model.build((None, 4, 4, 1))
    assert model.encoder.dense.kernel.shape == (16, 4)
    images = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="was called on layer 'lazy'"):  # Keras' own loader.
        again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(images, verbose=0), model.predict(images, verbose=0))


def test_build_chain_returns_the_last_shape_and_builds_each_block_once():
    blocks = [keras.layers.Flatten(), keras.layers.Dense(5), keras.layers.Reshape((5, 1))]
    assert build_chain(blocks, (None, 2, 3, 1)) == (None, 5, 1)
    kernel = blocks[1].kernel
    build_chain(blocks, (None, 2, 3, 1))
    assert blocks[1].kernel is kernel


@pytest.mark.parametrize(
    ("kind", "expected"), [(None, []), ("layer", ["LayerNormalization"]), ("group", ["GroupNormalization"])]
)
def test_normalization_layer(kind, expected):
    assert [type(layer).__name__ for layer in normalization_layer(kind, 4)] == expected


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (8, 8), (12, 4), (4, 4), (5, 1)])
def test_groups_divide_the_channels(channels, groups):
    assert normalization_layer("group", channels)[0].groups == groups


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="`normalization` must be 'group', 'layer' or None, got 'batch'"):
        normalization_layer("batch", 4)


def test_a_decoder_records_the_shape_that_the_model_gave_it():
    model = VAE(num_latents=2)
    model.build((None, 5, 3, 2))
    assert model.decoder.get_config()["target_shape"] == [5, 3, 2]
    assert Decoder().get_config()["target_shape"] is None
