"""Encodes a split: the posterior of every example, in order, on any number of replicas."""

import dataclasses

import numpy as np

from vaeflow.analysis.examples import Examples


@dataclasses.dataclass(frozen=True)
class Embedding:
    """The posteriors q(z|x) of n examples.

    Attributes:
      indices: int64 `[n]`, which examples of the split, ascending.
      mean: `[n, D]`.
      log_variance: `[n, D]`.
      latents: `[n, D]`, a sample of each posterior.
    """

    indices: np.ndarray
    mean: np.ndarray
    log_variance: np.ndarray
    latents: np.ndarray


def embed(examples: Examples) -> Embedding:
    """Encodes examples; the noise of a sample depends on the example's place among them.

    Raises:
      DataError: an example cannot be read.
    """
    model, strategy = examples.model, examples.strategy

    def encode(images, first_position):
        with examples.floats(images, "embedding", first_position) as floats:
            posterior = model.encode(floats)
            latents = model.sampling(posterior.mean, posterior.log_variance)
        return posterior.mean, posterior.log_variance, latents

    encode_batch = examples.on_replicas(encode)
    parts = []
    for images, _, first_position in examples.batches():
        encoded = encode_batch(images, first_position)
        parts.append([np.concatenate(strategy.experimental_local_results(value)) for value in encoded])
    # The last batch was filled up.
    arrays = [np.concatenate(column)[: len(examples.indices)] for column in zip(*parts, strict=True)]
    return Embedding(examples.indices, *arrays)
