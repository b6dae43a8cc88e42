"""The convolutional VAE."""

from vaeflow import registry
from vaeflow.layers import ConvDecoder, ConvEncoder
from vaeflow.models.vae import VAE


@registry.model
class ConvVAE(VAE):
    """A VAE with a convolutional encoder and decoder by default.

    The objective is that of `VAE`; the default blocks are the net of Burgess et al.
    2018 (arXiv:1804.03599), for images of any size.

    Args:
      **kwargs: as for `VAE`.
    """

    def default_encoder(self) -> ConvEncoder:
        return ConvEncoder(dtype=self.dtype_policy)

    def default_decoder(self) -> ConvDecoder:
        return ConvDecoder(dtype=self.dtype_policy)
