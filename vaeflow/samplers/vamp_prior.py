"""Draws from a VampPrior that is fitted to latents."""

from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random, registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers import VampPrior
from vaeflow.samplers.base import Embedding, Sampler
from vaeflow.samplers.likelihood_fits import maximize_likelihood


@registry.sampler
class VampPriorSampler(Sampler):
    """Draws from a mixture of the posteriors of pseudo-inputs, 1/K Σ_k q(z|u_k), fitted to z ~ q(z|x).

    Tomczak & Welling 2018 (arXiv:1705.07120), Eq. 9, whose optimum is the aggregate posterior (Eq. 8); here
    the model is trained already, and only the pseudo-inputs u_k learn, by maximum likelihood. They
    begin at the images that latents of training images decode to. A tenth of the latents is held out;
    the fit ends where these were likeliest.

    Args:
      num_pseudo_inputs: K.
      num_steps: the number of steps of the fit, each of which encodes all pseudo-inputs.
      batch_size: the number of latents in a step.
      learning_rate: of Adam.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_pseudo_inputs: int = 100,
        num_steps: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
    ):
        name = type(self).__name__
        self.num_pseudo_inputs = validation.positive_integer(f"{name}.num_pseudo_inputs", num_pseudo_inputs)
        self.num_steps = validation.positive_count(f"{name}.num_steps", num_steps)
        self.batch_size = validation.positive_integer(f"{name}.batch_size", batch_size)
        self.learning_rate = validation.positive_number(f"{name}.learning_rate", learning_rate)

    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        if not embedding.is_gaussian or len(embedding.latents) < 2:
            raise ConfigurationError(
                "VampPriorSampler needs a Gaussian posterior and two images or more, this "
                f"{type(model).__name__} has others; leave it out of `sample.samplers`"
            )
        latents = np.asarray(embedding.latents)
        chosen = np.random.default_rng(seed).integers(len(latents), size=self.num_pseudo_inputs)
        images = model.decode(tf.constant(latents[chosen], model.variable_dtype)).mean
        prior = VampPrior(self.num_pseudo_inputs, dtype=model.variable_dtype)
        prior.image_shape = tuple(images.shape[1:])
        prior.build((None, latents.shape[1]))
        prior.pseudo_inputs.assign(tf.clip_by_value(images, 0.0, 1.0))
        maximize_likelihood(
            lambda batch: prior.distribution(model).log_prob(batch),
            prior.trainable_variables,
            latents,
            self.num_steps,
            self.batch_size,
            self.learning_rate,
            seed,
            type(self).__name__,
        )
        self._mixture = prior.distribution(model)

    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        with random.keyed(seed, "vamp prior sampler", 0):
            return np.asarray(self._mixture.draw(num_samples)[0])
