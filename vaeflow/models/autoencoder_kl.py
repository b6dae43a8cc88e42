"""The autoencoder of latent diffusion: a map of Gaussian latents that the KL holds only lightly."""

from typing import Any

from vaeflow import registry, validation
from vaeflow.layers import (
    AttentionMapDecoder,
    AttentionMapEncoder,
    GaussianMapPosterior,
    LaplaceLikelihood,
    Likelihood,
    Posterior,
)
from vaeflow.models.tokenizer import Tokenizer


@registry.model
class AutoencoderKL(Tokenizer):
    """The KL-regularized autoencoder (Rombach et al. 2022, arXiv:2112.10752, section 3.1, appendix G).

    Minimizes E[−log p(x|z)] + λ KL(q(z|x) ‖ N(0, I)) with λ = 10⁻⁶: the KL hardly counts, it only keeps
    the latents, a map `[h, w, D]`, from spreading without end. So they carry what a picture needs, at a
    scale that `vaeflow encode` measures, and a model of their own is trained on them. Samples of the
    prior are noise.

    λ has the paper's convention. Both terms are sums, over all pixels and channels and over
    all latents, and means over the batch: another size of images or latents leaves λ as it is. It
    depends on the scale of −log p(x|z) alone. The paper's is |x − x̂| of values in −1 … 1, twice that
    of values in 0 … 1, which is the default here, a Laplace likelihood with b = 0.5. With another b the same
    balance is λ = 10⁻⁶ / (2 b); a Gaussian squares the errors and has no such number.

    The default blocks are the paper's nets for f = 4, for images of any size that f divides, but for a
    1x1 convolution before the decoder, which the decoder's first can take up.

    Args:
      num_latents: D, the channels of the map of latents.
      kl_weight: λ, a float or a schedule of the step.
      **kwargs: as for `Tokenizer`. The paper has an `adversary`, which begins at step 50,001 with half the
        adaptive weight, and a `perceptual` net; without them pictures are blurred. The likelihood is by
        default a Laplace distribution with b = 0.5.
    """

    def __init__(self, num_latents: int = 4, kl_weight: validation.Weight = 1e-6, **kwargs: Any):
        super().__init__(num_latents, kl_weight=kl_weight, **kwargs)

    def default_encoder(self) -> AttentionMapEncoder:
        return AttentionMapEncoder(num_features=2 * self.num_latents, dtype=self.dtype_policy)

    def default_decoder(self) -> AttentionMapDecoder:
        return AttentionMapDecoder(dtype=self.dtype_policy)

    def default_posterior(self) -> Posterior:
        return GaussianMapPosterior(self.num_latents, dtype=self.variable_dtype)

    def default_likelihood(self) -> Likelihood:
        return LaplaceLikelihood(0.5)
