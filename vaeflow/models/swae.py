"""The sliced Wasserstein autoencoder."""

from typing import Any

import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.layers.terms import Term
from vaeflow.models import minibatch_divergences
from vaeflow.models.autoencoder import Autoencoder
from vaeflow.models.forward import Forward


@registry.model
class SWAE(Autoencoder):
    """The sliced Wasserstein autoencoder (Kolouri et al. 2019, arXiv:1804.01947, Alg. 1).

    Minimizes E[c(x, x̂)] + λ SW(q(z), p(z)), where x̂ is the mean of p(x|z) and c the sum of (x − x̂)² over
    pixels and channels, reported as `reconstruction_loss`; not in nats. The term
    `sliced_wasserstein` is the squared distance W₂² between the latents of the global batch and as many
    samples of p(z), projected to a random direction: the mean over L directions, drawn anew in each
    step. p(z) may be any prior that can be sampled; a prior's own variables are trained too.

    The paper's code adds means over pixels, so its weight of 10 is λ = 10 · H W C here.

    The encoder has no density, so the KL, the ELBO and the likelihood are not defined and left
    out; `kl_weight` and `free_bits` are refused.

    Args:
      distance_weight: λ, a float or a schedule.
      num_projections: L.
      **kwargs: as for `VAE`.
    """

    couples_examples = True
    without_kl = "an SWAE has no KL; the sliced distance has the weight SWAE.distance_weight"
    latents_rank = 2

    def __init__(self, distance_weight: validation.Weight = 1000.0, num_projections: int = 50, **kwargs: Any):
        super().__init__(**kwargs)
        self.distance_weight = validation.weight("SWAE.distance_weight", distance_weight)
        self.num_projections = validation.positive_integer("SWAE.num_projections", num_projections)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        latents, samples = self.gather(forward.latents), self.prior_samples(forward)
        one, other = (tf.reshape(each, (tf.shape(each)[0], -1)) for each in (latents, samples))
        size = tf.TensorShape(latents.shape[1:]).num_elements()
        shared = self.scope == "global"
        directions = random.normal((self.num_projections, size), latents.dtype, shared)
        distance = minibatch_divergences.sliced_wasserstein(one, other, directions)
        return super().objective(forward, step) | {
            "sliced_wasserstein": Term(distance, schedules.value_at(self.distance_weight, step))
        }
