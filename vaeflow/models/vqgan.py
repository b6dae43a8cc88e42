"""The VQGAN: a tokenizer with codes as latents and a discriminator of patches."""

from typing import Any

from vaeflow import registry
from vaeflow.layers import (
    Adversary,
    AttentionMapDecoder,
    AttentionMapEncoder,
    LaplaceLikelihood,
    Likelihood,
    Posterior,
    Prior,
    UniformCodes,
    VectorQuantizer,
)
from vaeflow.models.tokenizer import Tokenizer


@registry.model
class VQGAN(Tokenizer):
    """The VQGAN (Esser, Rombach & Ommer 2021, arXiv:2012.09841, Eq. 4 to 7).

    A VQ-VAE whose reconstruction loss is L1 and, with a `perceptual` net, a distance of features, and
    whose decoder is trained against a discriminator too; see `Adversary` for its loss and the adaptive
    weight. Any quantizer may be its posterior. With `Adversary.first_step` beyond the end it is a
    VQ-VAE without an adversary.

    It samples codes of its uniform prior, whose images are noise; a prior over codes is trained on what
    it has encoded.

    Args:
      num_latents: D, the length of a code's embedding.
      **kwargs: as for `Tokenizer`; the adversary is by default `Adversary()`, and the likelihood
        a Laplace distribution with b = 0.5: |x − x̂| of pixels in −1 … 1.
    """

    def __init__(self, num_latents: int = 64, **kwargs: Any):
        super().__init__(num_latents, **kwargs)

    def default_encoder(self) -> AttentionMapEncoder:
        return AttentionMapEncoder(dtype=self.dtype_policy)

    def default_decoder(self) -> AttentionMapDecoder:
        return AttentionMapDecoder(dtype=self.dtype_policy)

    def default_posterior(self) -> Posterior:
        return VectorQuantizer(self.num_latents, dtype=self.variable_dtype)

    def default_likelihood(self) -> Likelihood:
        return LaplaceLikelihood(0.5)

    def default_prior(self) -> Prior:
        return UniformCodes()

    def default_adversary(self) -> Adversary:
        return Adversary(dtype=self.dtype_policy)
