"""The convolutional VAE is the net of Burgess et al. 2018 (arXiv:1804.03599, appendix)."""

import pytest

from vaeflow.layers import ConvDecoder, ConvEncoder, DenseEncoder
from vaeflow.models import ConvVAE


def test_weights_of_the_published_net():
    model = ConvVAE(num_latents=10)
    model.build((None, 64, 64, 1))
    encoder = 544 + 3 * 16_416 + 131_328 + 65_792
    head = 2 * (256 * 10 + 10)
    decoder = 2_816 + 65_792 + 131_584 + 3 * 16_416 + 513
    assert model.count_params() == encoder + head + decoder


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 64, 3), (17, 13, 2), (1, 1, 1)])
def test_any_size_of_image(shape):
    model = ConvVAE(num_latents=2)
    model.build((None, *shape))
    assert model.sample(2).shape == (2, *shape)


def test_given_blocks_are_used():
    model = ConvVAE(num_latents=2, encoder=DenseEncoder((4,)))
    assert isinstance(model.encoder, DenseEncoder)
    assert isinstance(model.decoder, ConvDecoder)
    assert isinstance(ConvVAE().encoder, ConvEncoder)
