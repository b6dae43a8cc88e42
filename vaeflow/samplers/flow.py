"""Draws from a normalizing flow that is fitted to latents."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from vaeflow import random, registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers import FlowPrior
from vaeflow.layers.flow_prior import COUPLINGS
from vaeflow.samplers.base import Embedding, Sampler
from vaeflow.samplers.likelihood_fits import maximize_likelihood


@registry.sampler
class FlowSampler(Sampler):
    """Draws from couplings fitted by maximum likelihood to z ~ q(z|x), as a `FlowPrior` has them.

    A flow that is fitted after the autoencoder was trained takes the place of the prior (Böhm & Seljak
    2020, arXiv:2006.05479, section 3; Ghosh et al. 2020, arXiv:1903.12436, section 4). The latents
    are scaled to mean 0 and deviation 1 first. A tenth of them is held out; the fit ends where these
    were likeliest.

    Args:
      num_flows: how many couplings there are.
      hidden_units: the widths of the hidden layers of each coupling's net.
      coupling: `"spline"` or `"affine"`; see `FlowPrior`.
      num_steps: the number of steps of the fit.
      batch_size: the number of latents in a step.
      learning_rate: of Adam.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_flows: int = 6,
        hidden_units: Sequence[int] = (128,),
        coupling: str = "spline",
        num_steps: int = 2000,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
    ):
        self.num_flows = validation.positive_integer("FlowSampler.num_flows", num_flows)
        self.hidden_units = validation.positive_integers("FlowSampler.hidden_units", hidden_units)
        self.coupling = validation.one_of("FlowSampler.coupling", coupling, COUPLINGS)
        self.num_steps = validation.positive_count("FlowSampler.num_steps", num_steps)
        self.batch_size = validation.positive_integer("FlowSampler.batch_size", batch_size)
        self.learning_rate = validation.positive_number("FlowSampler.learning_rate", learning_rate)

    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        latents = np.asarray(embedding.latents, np.float32)
        if latents.shape[1] < 2 or len(latents) < 2:
            raise ConfigurationError(
                f"FlowSampler needs two latents or more of two images or more, got {latents.shape[1]} of "
                f"{len(latents)}; leave it out of `sample.samplers`"
            )
        self._mean = latents.mean(axis=0)
        # A latent that never changes keeps its value.
        self._deviation = np.maximum(latents.std(axis=0), 1e-6)
        flow = FlowPrior(self.num_flows, self.hidden_units, coupling=self.coupling, dtype="float32")
        flow.build((None, latents.shape[1]))
        _draw_kernels_anew(flow, seed)
        maximize_likelihood(
            lambda batch: flow.distribution(None).log_prob(batch),
            flow.trainable_variables,
            (latents - self._mean) / self._deviation,
            self.num_steps,
            self.batch_size,
            self.learning_rate,
            seed,
            type(self).__name__,
        )
        self._flow = flow

    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        with random.keyed(seed, "flow sampler", 0):
            drawn, _ = self._flow.distribution(None).draw(num_samples)
        return self._mean + self._deviation * np.asarray(drawn)


def _draw_kernels_anew(flow: FlowPrior, seed: int) -> None:
    """Makes the initial kernels a function of the seed; Keras draws them from its global generator."""
    hidden = [layer for coupling in flow.couplings for layer in coupling.net[:-1] if layer.weights]
    for number, layer in enumerate(hidden):
        initializer = keras.initializers.GlorotUniform(seed=(seed + number) % 2**31)
        layer.kernel.assign(initializer(layer.kernel.shape))  # pyright: ignore[reportAttributeAccessIssue]
