"""The VAE with discrete latents, which a learned codebook quantizes."""

from typing import Any

from vaeflow import registry
from vaeflow.layers import (
    GaussianLikelihood,
    Likelihood,
    Posterior,
    Prior,
    ResidualMapDecoder,
    ResidualMapEncoder,
    UniformCodes,
    VectorQuantizer,
)
from vaeflow.models.vae import VAE


@registry.model
class VQVAE(VAE):
    """The VQ-VAE (van den Oord, Vinyals & Kavukcuoglu 2017, arXiv:1711.00937, Eq. 3).

    Minimizes E[−log p(x|z) + h w log K] + β E[|z_e − sg(e)|²], where the second part of the
    negative ELBO is the KL to the uniform prior, a constant, and the last term, by which vectors
    z_e of the encoder commit themselves to their codes, is that of `VectorQuantizer`; it also
    moves the codebook. Without a density there is no estimate of the likelihood.

    The default blocks are the paper's net, with a Gaussian likelihood, for images of any size.

    Args:
      num_latents: D, the length of a code's embedding.
      **kwargs: as for `VAE`.
    """

    def __init__(self, num_latents: int = 64, **kwargs: Any):
        super().__init__(num_latents, **kwargs)

    def default_encoder(self) -> ResidualMapEncoder:
        return ResidualMapEncoder(dtype=self.dtype_policy)

    def default_decoder(self) -> ResidualMapDecoder:
        return ResidualMapDecoder(dtype=self.dtype_policy)

    def default_posterior(self) -> Posterior:
        return VectorQuantizer(self.num_latents, dtype=self.variable_dtype)

    def default_likelihood(self) -> Likelihood:
        return GaussianLikelihood()

    def default_prior(self) -> Prior:
        return UniformCodes()
