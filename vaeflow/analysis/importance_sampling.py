"""Estimates the log-likelihood of a split by importance sampling: many latents for each image."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from vaeflow import random, validation
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import Split
from vaeflow.devices import cores, replicas
from vaeflow.errors import ConfigurationError
from vaeflow.models import batches
from vaeflow.runs import watchdog

# Samples of an example that are drawn and decoded together. The noise is keyed by the
# block, so that another size gives other noise.
_BLOCK_SAMPLES = 10
# Of the images that a replica decodes at a time.
_DECODED_BYTES = 8 << 20
# A signal is handled between two calls of TensorFlow only.
_SECONDS_PER_CALL = 1.0


class ImportanceSampler:
    """Estimates the negative log-likelihood −log p(x), as the mean over a split.

    Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), Eq. 8: for z_1 … z_k from
    the model's own q(z|x), the mean of log 1/k Σ p(x|z_i) p(z_i) / q(z_i|x) is a lower bound on
    log p(x), the ELBO for k = 1, that becomes tighter as k grows. Smaller k use the
    first of the samples of the largest.

    The noise is keyed by the seed, the example's position in the split and the number
    of the sample, and dynamic binarization draws each example once: the results do
    not depend on the batch size and the number of replicas, up to rounding.

    Args:
      examples: the model and its `Examples`, whose own batch size does not matter here.
      num_samples: each k to estimate with, a list of positive integers.
      batch_size: the global number of examples worked on at a time, divisible by the
        number of replicas; None for what keeps a replica's decoded images near 8 MiB.

    Raises:
      ValueError: `num_samples` or `batch_size` is something else.
    """

    def __init__(
        self, examples: Examples, num_samples: Sequence[int] = (1, 50), batch_size: int | None = None
    ):
        self.model = examples.model
        self.strategy = examples.strategy
        num_samples = validation.positive_integers("ImportanceSampler.num_samples", num_samples)
        if not num_samples:
            raise ValueError("`ImportanceSampler.num_samples` must name at least one number, got none")
        self.num_samples = tuple(sorted(set(num_samples)))
        batch_size = _suitable_batch_size(examples) if batch_size is None else batch_size
        _check_batch_size(batch_size, self.strategy.num_replicas_in_sync)
        self.examples = examples.in_batches_of(batch_size)
        self._num_blocks = math.ceil(self.num_samples[-1] / _BLOCK_SAMPLES)
        self._blocks_per_call = 1
        self._start = examples.on_replicas(self._start_on_replica)
        self._add_blocks = examples.on_replicas(self._add_blocks_on_replica)
        self._finish = examples.on_replicas(self._finish_on_replica)

    def estimate(self, on_progress: Callable[[float], None] | None = None) -> dict[int, float]:
        """Estimates the negative log-likelihood of the model as it is now.

        Args:
          on_progress: called about once a second with the fraction of the work done.

        Returns:
          A dict, k -> the mean over the examples, a float in nats.

        Raises:
          ConfigurationError: q(z|x) or p(z) has no density.
          DataError: an example cannot be read.
        """
        if without := group_without_density(self.examples):
            raise ConfigurationError(
                f"the likelihood is not defined for this model: {without} has no density; set "
                "`evaluate.num_samples = []`"
            )
        totals = np.zeros(len(self.num_samples))
        num_batches = self.examples.num_batches
        for batch, (stored, weights, first_position) in enumerate(self.examples.batches()):
            inputs, sums = self._start(stored, first_position)
            block = 0
            while block < self._num_blocks:
                last = min(block + self._blocks_per_call, self._num_blocks)
                sums = self._add_timed_blocks(inputs, sums, first_position, block, last)
                block = last
                if on_progress is not None:
                    on_progress((batch + block / self._num_blocks) / num_batches)
            totals += replicas.first_replica(self.strategy, self._finish(sums, weights)).numpy()
        means = totals / len(self.examples.indices)
        return {k: -float(mean) for k, mean in zip(self.num_samples, means, strict=True)}

    def _add_timed_blocks(self, inputs, sums, first_position, block, last):
        watchdog.progress(f"the importance sampling, samples {block * _BLOCK_SAMPLES} and on of a batch")
        started = time.perf_counter()
        sums = self._add_blocks(inputs, sums, first_position, *tf.constant([block, last], tf.int64))
        replicas.first_replica(self.strategy, sums[0]).numpy()  # Waits for the device.
        seconds = time.perf_counter() - started
        self._blocks_per_call = max(1, round((last - block) * _SECONDS_PER_CALL / seconds))
        return sums

    def _start_on_replica(self, stored, first_position):
        """Infers what a batch's posterior needs; returns the inputs of all blocks, and sums of nothing yet.

        The stream is that of the `Evaluator`, so that both see one dynamic binarization.
        """
        with self.examples.batch(stored, "evaluation", first_position) as batch:
            evidence = self.model.infer(batch)
        # Repeated once here, so that a block needs no copies but works on plain batches of b · 10.
        repeated = batches.repeated((batch, evidence), _BLOCK_SAMPLES)
        shape = (batch["images"].shape[0], len(self.num_samples))
        dtype = batch["images"].dtype
        return repeated, (tf.fill(shape, tf.constant(-math.inf, dtype)), tf.zeros(shape, dtype))

    def _add_blocks_on_replica(self, inputs, sums, first_position, first_block, last_block):
        """Adds the importance weights of the blocks from `first_block` to before `last_block`."""
        rows, evidence = inputs
        num_examples = rows["images"].shape[0] // _BLOCK_SAMPLES
        first = self.examples.first_position_here(first_position, num_examples)
        num_replicas = replicas.num_local_replicas(self.strategy)
        # Each core of a CPU has examples of its own.
        num_parts = min(num_examples, cores.parts_at_a_time(num_examples * _BLOCK_SAMPLES, num_replicas))

        def log_weights_of(first, last):
            own = slice(first * _BLOCK_SAMPLES, last * _BLOCK_SAMPLES)
            part = tf.nest.map_structure(lambda value: value[own], (rows, evidence))
            return self.model.forward_rows(*part, num_samples=_BLOCK_SAMPLES).log_weight

        def add_block(block, sums):
            with random.keyed(self.examples.seed, "importance_sampling/latents", block, first):
                parts = random.in_parts(cores.bounds(num_examples, num_parts))
                log_weights = tf.expand_dims(tf.concat([log_weights_of(*part) for part in parts], axis=0), -1)
            sample = block * _BLOCK_SAMPLES + tf.range(_BLOCK_SAMPLES, dtype=tf.int64)
            counts = sample[:, None] < tf.constant(self.num_samples, tf.int64)
            zero_weight = tf.constant(-math.inf, log_weights.dtype)
            return block + 1, _add_exponentials(sums, tf.where(counts, log_weights, zero_weight))

        return tf.while_loop(lambda block, _: block < last_block, add_block, (first_block, sums))[1]

    def _finish_on_replica(self, sums, weights):
        """Returns the estimates of log p(x) for each k, `[K]`, float64, summed over all examples."""
        largest, total = (tf.cast(value, tf.float64) for value in sums)
        num_samples = tf.constant(self.num_samples, tf.float64)
        log_likelihood = largest + tf.math.log(total) - tf.math.log(num_samples)
        weights = tf.cast(weights, tf.float64)
        return replicas.sum_over_replicas(tf.tensordot(weights, log_likelihood, 1))


def group_without_density(examples: Examples) -> str:
    """Names a distribution of the latents that has no density, from one pass; empty where all have one."""
    with random.keyed(0, "importance_sampling/trial", 0):
        forward = examples.model.forward(examples.blank_batch())
    for name, draw in forward.draws.items():
        if not draw.has_densities:
            role = "posterior" if draw.log_posterior is None else "prior"
            return f"the {role} of the latents {name!r}, a {type(getattr(draw, role)).__name__},"
    return ""


def _suitable_batch_size(examples):
    num_replicas = examples.strategy.num_replicas_in_sync
    num_examples = len(examples.indices)
    bytes_per_example = 4 * _BLOCK_SAMPLES * math.prod(examples.split.shape)
    most = num_replicas * max(1, _DECODED_BYTES // bytes_per_example)
    num_batches = math.ceil(num_examples / most)
    # Equal batches leave the least to fill up in the last one.
    return num_replicas * math.ceil(num_examples / (num_batches * num_replicas))


def _check_batch_size(batch_size, num_replicas):
    validation.positive_integer("ImportanceSampler.batch_size", batch_size)
    if batch_size % num_replicas:
        raise ValueError(
            "`ImportanceSampler.batch_size` is global and must be divisible by the number of replicas "
            f"({num_replicas}), got {batch_size}; leave it None for a suitable one"
        )


def _add_exponentials(sums, values):
    """Adds exp(values) to running sums that neither underflow nor overflow.

    Args:
      sums: a pair of `[b, K]`: m, the largest value so far, and Σ exp(value − m).
      values: `[b, samples, K]`, or broadcastable to it.

    Returns:
      The new pair.
    """
    largest, total = sums
    new_largest = tf.maximum(largest, tf.reduce_max(values, axis=1))
    # Where all are −inf, their difference would not be a number.
    shift = tf.where(tf.math.is_finite(new_largest), new_largest, tf.zeros_like(new_largest))
    total *= tf.exp(largest - shift)
    return new_largest, total + tf.reduce_sum(tf.exp(values - shift[:, None]), axis=1)


def bits_per_dimension(nll_nats: float, split: Split, measure: str | None) -> float | None:
    """Converts a negative log-likelihood into bits for each pixel and channel.

    For a density over pixel values it is that of the 256 levels of 8-bit pixels, which
    lie 1/256 of the range apart: 8 bits more (Theis et al. 2016, arXiv:1511.01844,
    section 3.1, without the noise).

    Args:
      nll_nats: for a whole image.
      split: the images.
      measure: of the model's likelihood; see `Likelihood`.

    Returns:
      The bits; None where they have no meaning: the likelihood is not normalized, is a
      density over pixels that have no levels, or is one of binary pixels and some are grey.
    """
    bits = nll_nats / (math.prod(split.shape) * math.log(2.0))
    if measure == "probability" or (measure == "binary" and _is_binary(split)):
        return bits
    if measure == "density" and split.dtype == "uint8" and split.binarization == "none":
        return bits + math.log2(256)
    return None


def _is_binary(split):
    """Whether all pixels are 0 or 1 as the model takes them; False where nobody knows."""
    if split.binarization != "none":
        return True
    white = 255 if split.dtype == "uint8" else 1
    return split.array is not None and bool(np.all((split.array == 0) | (split.array == white)))
