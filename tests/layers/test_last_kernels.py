"""Each decoder's last kernel is that of the layer that outputs the image."""

import numpy as np
import pytest

from vaeflow.layers import (
    AttentionMapDecoder,
    ConvDecoder,
    ConvMapDecoder,
    DenseDecoder,
    ResidualMapDecoder,
    ResNetDecoder,
)

DECODERS = [
    (DenseDecoder((5,), "silu"), (3, 4)),
    (ConvDecoder((4, 3), units=(5,), activation="silu"), (3, 4)),
    (ResNetDecoder((4, 4)), (3, 4)),
    (ConvMapDecoder((4, 3), activation="silu"), (3, 2, 2, 4)),
    (ResidualMapDecoder((4, 3), 1, activation="silu"), (3, 2, 2, 4)),
    (AttentionMapDecoder((4, 4, 4), 1), (3, 2, 2, 4)),
]


@pytest.mark.families
@pytest.mark.parametrize(("decoder", "shape"), DECODERS, ids=lambda each: type(each).__name__)
def test_the_image_is_linear_in_it(decoder, shape):
    decoder.target_shape = (8, 8, 2)
    latents = np.random.default_rng(0).normal(size=shape).astype("float32")
    decoder(latents)
    kernel = decoder.last_kernel
    one, other = np.random.default_rng(1).normal(size=(2, *kernel.shape))

    def image(value):
        kernel.assign(value)
        return decoder(latents).numpy()

    constant = image(0.0 * one)
    assert np.ptp(constant) == 0.0  # The bias, which begins at 0.
    np.testing.assert_allclose(image(one + other), image(one) + image(other), rtol=1e-3, atol=1e-4)
    assert np.abs(image(one)).max() > 1e-2
