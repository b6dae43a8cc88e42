"""Draws from a mixture of Gaussians that is fitted to latents."""

import warnings
from typing import Any

import numpy as np
from absl import logging

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.runs import watchdog
from vaeflow.samplers.base import Embedding, Sampler

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


@registry.sampler
class GaussianMixtureSampler(Sampler):
    """Draws from a mixture of Gaussians fitted by expectation maximization to z ~ q(z|x).

    A density model of the latents, fitted after the VAE was trained, closes the gap between
    the prior and the aggregate posterior (Ghosh et al. 2020, arXiv:1903.12436, section 4).

    Args:
      num_components: the number of Gaussians.
      covariance_type: as in scikit-learn's `GaussianMixture`. `"full"`: each Gaussian has
        its own matrix; `"tied"`: all share one; `"diag"`; or `"spherical"`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, num_components: int = 10, covariance_type: str = "full"):
        self.num_components = validation.positive_integer(
            "GaussianMixtureSampler.num_components", num_components
        )
        self.covariance_type = validation.one_of(
            "GaussianMixtureSampler.covariance_type", covariance_type, COVARIANCE_TYPES
        )

    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        # Imported here, since it would cost every command a second.
        from sklearn import exceptions, mixture

        latents = np.asarray(embedding.latents, np.float64)
        if len(latents) < self.num_components:
            raise ConfigurationError(
                f"`GaussianMixtureSampler.num_components` must be at most the number of images it is fitted "
                f"to, {len(latents)}, got {self.num_components}; lower it, or raise `sample.num_fit_examples`"
            )

        class ReportingMixture(mixture.GaussianMixture):
            def _e_step(self, *arguments: Any, **options: Any) -> Any:
                watchdog.progress("an iteration of the fit of GaussianMixtureSampler")
                return super()._e_step(*arguments, **options)

        self._mixture = ReportingMixture(
            self.num_components, covariance_type=self.covariance_type, max_iter=200, random_state=seed
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", exceptions.ConvergenceWarning)
            self._mixture.fit(latents)
        for warning in caught:
            logging.warning("GaussianMixtureSampler: %s", str(warning.message).split(".")[0])

    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        self._mixture.set_params(random_state=seed)
        latents, _ = self._mixture.sample(num_samples)
        return np.random.RandomState(seed).permutation(latents)  # scikit-learn sorts them by component.
