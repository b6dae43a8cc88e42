"""Fits densities to latents by maximum likelihood."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow.optimizers import Adam
from vaeflow.runs import watchdog

_STEPS_BETWEEN_CHECKS = 50
# Of the latents, those that decide which weights are kept.
_HELD_OUT_SHARE = 0.1


def maximize_likelihood(
    log_prob: Callable[[tf.Tensor], Any],
    variables: Sequence[keras.Variable],
    latents: np.ndarray,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    name: str,
) -> None:
    """Trains variables by Adam so that latents become likely.

    A tenth of the latents is held out; the variables end where these were likeliest, so that a fit to
    few latents does not learn them by heart.

    Args:
      log_prob: log p of latents `[b, D]`, in nats, `[b]`; a function of the variables.
      variables: what is trained.
      latents: `[n, D]`, two or more.
      num_steps: the number of steps.
      batch_size: the number of latents in a step.
      learning_rate: of Adam.
      seed: chooses the latents of each step, and those held out.
      name: of the sampler, for the log.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(latents))
    count = max(1, int(_HELD_OUT_SHARE * len(latents)))
    held_out, training = tf.constant(latents[order[:count]]), latents[order[count:]]
    optimizer = Adam(learning_rate)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(batch):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(log_prob(batch))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)

    mean_held_out = tf.function(lambda: tf.reduce_mean(log_prob(held_out)), autograph=False)
    best, kept = -np.inf, [variable.numpy() for variable in variables]
    for number in range(num_steps + 1):
        if number % _STEPS_BETWEEN_CHECKS == 0 or number == num_steps:
            watchdog.progress(f"step {number} of {num_steps} of the fit of {name}")
            if (found := float(mean_held_out())) > best:
                best, kept = found, [variable.numpy() for variable in variables]
        if number < num_steps:
            step(tf.constant(training[generator.integers(len(training), size=batch_size)]))
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)
    logging.info("%s: %.3f nats of log p(z) of the latents held out", name, best)
