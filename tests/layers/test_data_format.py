"""Images have their channels last, whatever a user's `keras.json` says."""

import keras
import numpy as np
import pytest

from vaeflow import layers


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        (
            layers.ConvEncoder(filters=(4,), units=(8,), normalization="group"),
            layers.ConvDecoder(filters=(4,), units=(8,)),
        ),
        (layers.ResNetEncoder(filters=(4, 8), units=8), layers.ResNetDecoder(filters=(8, 4))),
        (layers.ResidualMapEncoder((4, 6), 1), layers.ResidualMapDecoder((6, 4), 1)),
    ],
)
def test_blocks_of_images_do_not_ask_keras(channels_first, encoder, decoder):
    encoder, decoder = (type(each).from_config(each.get_config()) for each in (encoder, decoder))
    features = encoder(np.zeros((2, 16, 8, 3), "float32"))
    decoder.target_shape = (16, 8, 3)
    assert decoder(features).shape == (2, 16, 8, 3)
    formats = {
        layer.data_format
        for each in (encoder, decoder)
        for layer in each._flatten_layers()
        if hasattr(layer, "data_format")
    }
    assert formats == {"channels_last"}
