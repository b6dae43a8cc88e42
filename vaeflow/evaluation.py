"""Evaluates a model on a split, each example counted once on any number of replicas."""

import numpy as np
import tensorflow as tf

from vaeflow import distribute, random
from vaeflow.datasets import pipeline

# A latent is active when its posterior mean varies by more than this over the data:
# Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), section 5.2.
_ACTIVE_VARIANCE = 0.01


class Evaluator:
    """Computes the negative ELBO and what the latents do, over a whole split.

    The noise is keyed by the seed and the example's position, so the same weights
    give the same numbers each time, on any number of replicas.

    Args:
      model: a built model.
      split: the evaluation `Split`.
      binarization: of the dataset.
      strategy: the strategy that the model was made under.
      batch_size: the global batch size.
      seed: keys the noise.
    """

    def __init__(self, model, split, binarization, strategy, batch_size, seed):
        self.model = model
        self.split = split
        self.binarization = binarization
        self.strategy = strategy
        self.seed = seed
        self._batches, self._num_batches = pipeline.evaluation_batches(split, batch_size, strategy)
        self._sums = tf.function(self._sum_over_batches)

    def evaluate(self):
        """Evaluates the model as it is now.

        Returns:
          A dict of floats, in nats, means over the examples: `negative_elbo` (at a
          KL weight of 1, whatever the objective), `reconstruction_loss`, `kl`,
          `kl_per_dimension/00` …; and `active_units`, a count.
        """
        with pipeline.readable_errors():
            sums = {name: value.numpy() for name, value in self._sums(iter(self._batches)).items()}
        means = {name: value / self.split.num_examples for name, value in sums.items()}
        variance = means["posterior_mean_squared"] - np.square(means["posterior_mean"])
        results = {
            "negative_elbo": means["reconstruction_loss"] + means["kl"],
            "reconstruction_loss": means["reconstruction_loss"],
            "kl": means["kl"],
            "active_units": int(np.sum(variance > _ACTIVE_VARIANCE)),
        }
        for dimension, kl in enumerate(means["kl_per_dimension"]):
            results[f"kl_per_dimension/{dimension:02d}"] = kl
        return {name: float(value) for name, value in results.items()}

    def _sum_over_batches(self, iterator):
        latents = [self.model.num_latents]
        shapes = {
            "reconstruction_loss": [],
            "kl": [],
            "kl_per_dimension": latents,
            "posterior_mean": latents,
            "posterior_mean_squared": latents,
        }
        sums = {name: tf.zeros(shape, tf.float64) for name, shape in shapes.items()}
        for batch in tf.range(self._num_batches):
            images, weights = next(iterator)
            part = self.strategy.run(self._sum_over_examples, (images, weights, batch))
            part = distribute.first_replica(self.strategy, part)
            sums = {name: sums[name] + part[name] for name in sums}
        return sums

    def _sum_over_examples(self, images, weights, batch):
        """Sums each quantity over the examples of all replicas, inside a replica."""
        first_position = distribute.replica_index() * images.shape[0]
        with random.keyed(self.seed, "evaluation", batch, first_position):
            floats = pipeline.to_floats(images, self.model.variable_dtype, self.binarization)
            forward = self.model.forward(floats)
        prior = self.model.prior
        per_example = {
            "reconstruction_loss": -forward.reconstruction.log_prob(forward.images),
            "kl": prior.kl(forward.posterior, forward.latents),
            "kl_per_dimension": prior.kl_per_dimension(forward.posterior, forward.latents),
            "posterior_mean": forward.posterior.mean,
            "posterior_mean_squared": tf.square(forward.posterior.mean),
        }
        sums = {
            name: tf.linalg.matvec(tf.cast(value, tf.float64), tf.cast(weights, tf.float64), transpose_a=True)
            if value.shape.rank == 2
            else tf.tensordot(tf.cast(value, tf.float64), tf.cast(weights, tf.float64), 1)
            for name, value in per_example.items()
        }
        return distribute.sum_over_replicas(sums)
