"""Distributions over latents to draw new images from, fitted on a trained model's latents."""

import abc
import re
import warnings

import numpy as np
from absl import logging

from vaeflow import random, registry, validation
from vaeflow.errors import ConfigurationError

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


class Sampler(abc.ABC):
    """A distribution over latents; what it draws is decoded to images.

    A plug-in extends it under `@registry.sampler`:

        @registry.sampler
        class WideSampler(Sampler):
            def fit(self, model, embedding, seed):
                self.deviation = 2 * embedding.latents.std(axis=0)

            def sample(self, num_samples, seed):
                noise = np.random.default_rng(seed).normal(size=(num_samples, len(self.deviation)))
                return noise * self.deviation
    """

    @property
    def name(self):
        """What its files are called: `prior` for `PriorSampler`, and so on."""
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z_]+", type(self).__name__.removesuffix("Sampler"))
        return "_".join(word.lower() for word in words) or "sampler"

    @abc.abstractmethod
    def fit(self, model, embedding, seed):
        """Learns from a trained model; called once, before `sample`.

        Args:
          model: the built model, e.g. for its `prior`.
          embedding: an `Embedding` of training images: NumPy `mean`, `log_variance`
            and `latents` ~ q(z|x), each `[n, D]`.
          seed: an int, for a fit that draws numbers.

        Raises:
          ConfigurationError: the embedding does not suit the settings.
        """

    @abc.abstractmethod
    def sample(self, num_samples, seed):
        """Draws latents, the same for the same seed.

        Args:
          num_samples: how many, n.
          seed: an int.

        Returns:
          NumPy `[n, D]`, in random order.
        """


@registry.sampler
class PriorSampler(Sampler):
    """Draws from the model's prior p(z), as in Kingma & Welling 2014 (arXiv:1312.6114)."""

    def fit(self, model, embedding, seed):
        self._prior = model.prior
        self._num_latents = model.num_latents
        self._dtype = model.variable_dtype

    def sample(self, num_samples, seed):
        with random.keyed(seed, "prior sampler", 0):
            noise = random.normal((num_samples, self._num_latents), self._dtype)
            return self._prior.sample(noise).numpy()


@registry.sampler
class AggregatePosteriorSampler(Sampler):
    """Draws from the aggregate posterior, the mean of q(z|x) over the training images.

    It picks an image, each with the same probability, then z ~ q(z|x): what the
    decoder was trained on, where the prior may miss it (Makhzani et al. 2015,
    arXiv:1511.05644, section 2; Tomczak & Welling 2018, arXiv:1705.07120).
    """

    def fit(self, model, embedding, seed):
        self._mean = np.asarray(embedding.mean)
        self._deviation = np.exp(0.5 * np.asarray(embedding.log_variance))

    def sample(self, num_samples, seed):
        with random.keyed(seed, "aggregate posterior sampler", 0):
            uniform = random.uniform((num_samples, 1), "float64").numpy()[:, 0]
            noise = random.normal((num_samples, self._mean.shape[1]), self._mean.dtype).numpy()
        # In (0, 1]: counted from the top, it is in [0, 1).
        chosen = ((1.0 - uniform) * len(self._mean)).astype(np.int64)
        return self._mean[chosen] + self._deviation[chosen] * noise


@registry.sampler
class GaussianMixtureSampler(Sampler):
    """Draws from a mixture of Gaussians fitted by expectation maximization to z ~ q(z|x).

    A density model of the latents, learned after the VAE, closes the gap between
    prior and aggregate posterior (Ghosh et al. 2020, arXiv:1903.12436, section 4).

    Args:
      num_components: how many Gaussians.
      covariance_type: as in scikit-learn's `GaussianMixture`: `"full"`, each its own
        matrix; `"tied"`, one matrix for all; `"diag"`; or `"spherical"`.
    """

    def __init__(self, num_components=10, covariance_type="full"):
        self.num_components = validation.positive_integer(
            "GaussianMixtureSampler.num_components", num_components
        )
        self.covariance_type = validation.one_of(
            "GaussianMixtureSampler.covariance_type", covariance_type, COVARIANCE_TYPES
        )

    def fit(self, model, embedding, seed):
        # Here, since its import would cost every command a second.
        from sklearn import exceptions, mixture

        latents = np.asarray(embedding.latents, np.float64)
        if len(latents) < self.num_components:
            raise ConfigurationError(
                f"`GaussianMixtureSampler.num_components` must be at most the number of images it is fitted "
                f"on, {len(latents)}, got {self.num_components}; lower it, or raise `sample.num_fit_examples`"
            )
        self._mixture = mixture.GaussianMixture(
            self.num_components, covariance_type=self.covariance_type, max_iter=200, random_state=seed
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", exceptions.ConvergenceWarning)
            self._mixture.fit(latents)
        for warning in caught:
            logging.warning("GaussianMixtureSampler: %s", str(warning.message).split(".")[0])

    def sample(self, num_samples, seed):
        self._mixture.set_params(random_state=seed)
        latents, _ = self._mixture.sample(num_samples)
        return np.random.RandomState(seed).permutation(latents)  # They come sorted by component.
