"""Encodes a split: the posterior of every example, in order, on any number of replicas."""

import dataclasses

import numpy as np

from vaeflow.analysis.examples import Examples
from vaeflow.distributions import closed_kl


@dataclasses.dataclass(frozen=True)
class Embedding:
    """The posteriors q(z|x) of n examples.

    Attributes:
      indices: int64 `[n]`, which examples of the split, ascending.
      center: `[n, D]`, the value that stands for each posterior, such as its mean.
      latents: `[n, D]`, a sample of each posterior.
      parameters: what describes each posterior, name -> `[n, …]`; of a Gaussian `mean` and
        `log_variance`, `[n, D]`.
      kl: KL(q(z|x) ‖ p(z)) of each latent, in nats, `[n, D]`; None where it has no closed form.
    """

    indices: np.ndarray
    center: np.ndarray
    latents: np.ndarray
    parameters: dict[str, np.ndarray]
    kl: np.ndarray | None = None

    @property
    def is_gaussian(self) -> bool:
        """Whether the posteriors are Gaussians with a diagonal covariance."""
        return {"mean", "log_variance"} <= self.parameters.keys()


def embed(examples: Examples) -> Embedding:
    """Encodes examples; the noise of a sample depends on the example's place among them.

    Raises:
      DataError: an example cannot be read.
    """
    model, strategy = examples.model, examples.strategy

    def local(value):
        return np.concatenate(strategy.experimental_local_results(value))

    def encode(images, first_position):
        with examples.floats(images, "embedding", first_position) as floats:
            posterior = model.encode(floats)
            latents, _ = posterior.draw()
        kl = closed_kl(posterior, model.prior_distribution())
        encoded = {"center": posterior.center, "latents": latents} | ({} if kl is None else {"kl": kl})
        return encoded, posterior.parameters

    encode_batch = examples.on_replicas(encode)
    batches = []
    for images, _, first_position in examples.batches():
        encoded = encode_batch(images, first_position)
        batches.append([{name: local(value) for name, value in part.items()} for part in encoded])

    # The last batch was filled up.
    arrays, parameters = (
        {name: np.concatenate([batch[name] for batch in part])[: len(examples.indices)] for name in part[0]}
        for part in zip(*batches, strict=True)
    )
    return Embedding(examples.indices, parameters=parameters, **arrays)
