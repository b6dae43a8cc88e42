"""Encodes a split: the posterior of every example, in order, on any number of replicas."""

import dataclasses

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.datasets import pipeline
from vaeflow.devices import graph_rewrites, replicas


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


def spread_indices(num_examples, num_chosen=None):
    """Returns int64 `[n]`: all indices of a split, or `num_chosen` spread evenly over it."""
    if num_chosen is None or num_chosen >= num_examples:
        return np.arange(num_examples)
    return np.linspace(0, num_examples - 1, num_chosen).astype(np.int64)


def embed(model, split, binarization, strategy, batch_size, seed, num_examples=None):
    """Encodes the examples of a split.

    Args:
      model: a built model.
      split: a `Split`.
      binarization: of the dataset.
      strategy: the strategy that the model was made under.
      batch_size: the global batch size, divisible by the number of replicas; it does
        not change the result.
      seed: keys the noise of the samples and of dynamic binarization.
      num_examples: how many examples, spread evenly over the split; None for all.

    Returns:
      An `Embedding`.

    Raises:
      DataError: an example cannot be read.
    """
    graph_rewrites.make_reproducible()
    indices = spread_indices(split.num_examples, num_examples)

    def encode(images, first_position):
        offset = replicas.replica_index() * images.shape[0]
        with random.keyed(seed, "embedding", 0, first_position + tf.cast(offset, tf.int64)):
            posterior = model.encode(pipeline.to_floats(images, model.variable_dtype, binarization))
            latents = model.sampling(posterior.mean, posterior.log_variance)
        return posterior.mean, posterior.log_variance, latents

    @tf.function(autograph=False)
    def encode_batch(images, first_position):
        return strategy.run(encode, (images, first_position))

    parts = []
    batches, _ = pipeline.evaluation_batches(split, batch_size, strategy, indices)
    with pipeline.readable_errors():
        for batch, (images, _) in enumerate(batches):
            encoded = encode_batch(images, tf.constant(batch * batch_size, tf.int64))
            parts.append([np.concatenate(strategy.experimental_local_results(value)) for value in encoded])
    # The last batch was filled up.
    arrays = [np.concatenate(column)[: len(indices)] for column in zip(*parts)]
    return Embedding(indices, *arrays)
