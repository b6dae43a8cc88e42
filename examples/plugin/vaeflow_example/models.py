"""A VAE with sparse codes."""

import keras

from vaeflow import registry, validation
from vaeflow.models import VAE, Term


@registry.model
class SparseVAE(VAE):
    """A VAE that also penalizes the size of its codes.

    Minimizes E[−log p(x|z) + KL(q(z|x) ‖ p(z)) + λ Σ_d |mean_d(x)|]. It is not from a
    paper: it illustrates how a variant overrides one method.

    Args:
      sparsity: λ, in nats per unit of the latents.
      **kwargs: as for `VAE`.
    """

    def __init__(self, sparsity=1.0, **kwargs):
        super().__init__(**kwargs)
        self.sparsity = validation.non_negative_number("SparseVAE.sparsity", sparsity)

    def objective(self, forward, step):
        size = keras.ops.sum(keras.ops.abs(forward.posterior.center), axis=-1)
        return super().objective(forward, step) | {"code_size": Term(size, self.sparsity)}
