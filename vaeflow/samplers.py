"""Distributions over latents that new images are drawn from, fitted to a trained model."""

import abc
import re
import warnings
from typing import Any, Protocol

import numpy as np
from absl import logging

from vaeflow import random, registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.runs import watchdog

# How many maps of codes are drawn at a time: always as many, so that a map has the same bits
# however many are wanted.
_CODE_ROWS = 64

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")


class Embedding(Protocol):
    """The latents of some images, one group of them, as `vaeflow.analysis.embedding` computes them.

    Attributes:
      center: the value that stands for each q(z|x), such as its mean, NumPy `[n, D]`.
      latents: one draw z ~ q(z|x) for each image, NumPy `[n, D]`.
      parameters: what describes each q(z|x), name -> NumPy `[n, …]`; of a Gaussian `mean`
        and `log_variance`.
    """

    @property
    def center(self) -> np.ndarray: ...

    @property
    def latents(self) -> np.ndarray: ...

    @property
    def parameters(self) -> dict[str, np.ndarray]: ...

    @property
    def is_vector(self) -> bool: ...

    @property
    def is_gaussian(self) -> bool: ...


class Sampler(abc.ABC):
    """A distribution over the latents of a model with one group of them, a vector.

    Its samples are decoded to images. Models with other latents have `PriorSampler` only.

    Example:
        @registry.sampler
        class WideSampler(Sampler):
            def fit(self, model, embedding, seed):
                self.deviation = 2 * embedding.latents.std(axis=0)

            def sample(self, num_samples, seed):
                noise = np.random.default_rng(seed).normal(size=(num_samples, len(self.deviation)))
                return noise * self.deviation
    """

    @property
    def name(self) -> str:
        """The name of its files: `prior` for `PriorSampler`, and so on."""
        words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[^A-Z_]+", type(self).__name__.removesuffix("Sampler"))
        return "_".join(word.lower() for word in words) or "sampler"

    @abc.abstractmethod
    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        """Learns from a trained model. It is called once, before `sample`.

        Args:
          model: the built model, e.g. for its `prior`.
          embedding: the latents of training images.
          seed: the seed of a fit that draws random numbers.

        Raises:
          ConfigurationError: the settings do not fit the embedding.
        """

    @abc.abstractmethod
    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        """Draws latents, the same for the same seed.

        Args:
          num_samples: the number of samples, n.
          seed: the seed of the draw.

        Returns:
          NumPy `[n, D]`, in random order.
        """


@registry.sampler
class PriorSampler(Sampler):
    """Draws from the model's prior p(z), as in Kingma & Welling 2014 (arXiv:1312.6114).

    It serves every model, whatever its latents.

    Args:
      temperature: scales how far the draws spread; 1 for the prior itself. With several groups of
        latents also a dict, such as {'8x8_1': 0.8}, with 1 for groups that it does not name.
    """

    def __init__(self, temperature: validation.Temperature = 1.0):
        self.temperature = validation.temperature("PriorSampler.temperature", temperature)

    def fit(self, model: Any, embedding: Embedding | None, seed: int) -> None:
        """Takes the model; the prior needs no latents of images."""
        self._model = model

    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        return next(iter(self.sample_latents(num_samples, seed).values()))

    def sample_latents(
        self, num_samples: int, seed: int, labels: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Draws latents, group -> `[n, …]`; `labels`, int64 `[n, F]`, if the model reads them."""
        with random.keyed(seed, "prior sampler", 0):
            latents = self._model.sample_latents(num_samples, labels, self.temperature)
        return {name: np.asarray(value) for name, value in latents.items()}


@registry.sampler
class CodeSampler(Sampler):
    """Draws maps of codes from a `CodePrior`, of which `sample` makes images by its tokenizer.

    Args:
      temperature: above 0; 1 for the model itself. Lower ones prefer what is likely anyway.
      top_k: how many codes are possible at each place at most, the likeliest; None for all.
      top_p: the probability of the codes that are possible, the likeliest; None for all.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None):
        self.temperature = validation.positive_number("CodeSampler.temperature", temperature)
        self.top_k = None if top_k is None else validation.positive_integer("CodeSampler.top_k", top_k)
        self.top_p = None if top_p is None else validation.share("CodeSampler.top_p", top_p)

    @property
    def name(self) -> str:
        """The name of its files, as of those of other models' priors: `prior`."""
        return PriorSampler().name

    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        raise ConfigurationError(
            f"CodeSampler draws codes, which a {type(model).__name__} has not; set `sample.samplers = "
            "[@PriorSampler()]`, or leave it out"
        )

    def use(self, model: Any) -> None:
        """Draws from this `CodePrior` from now on; nothing is fitted."""
        self._model = model

    def sample(self, num_samples: int, seed: int, labels: np.ndarray | None = None) -> np.ndarray:
        """Draws codes, int32 `[n, h, w, G]`; `labels`, int64 `[n, F]`, if the model reads them."""
        drawn = []
        for first in range(0, num_samples, _CODE_ROWS):
            watchdog.progress(f"codes of the images {first} and on of {num_samples}")
            rows = (
                None
                if labels is None
                else np.resize(labels[first : first + _CODE_ROWS], (_CODE_ROWS, labels.shape[1]))
            )
            with random.keyed(seed, "code sampler", 0, first):
                codes = self._model.sample(_CODE_ROWS, rows, self.temperature, self.top_k, self.top_p)
            drawn.append(np.asarray(codes))
        return np.concatenate(drawn)[:num_samples]


@registry.sampler
class AggregatePosteriorSampler(Sampler):
    """Draws from the aggregate posterior, the mean of q(z|x) over the training images.

    It picks an image uniformly, then draws z ~ q(z|x) anew where that is a Gaussian, and takes the
    draw of the embedding elsewhere. The decoder was trained on such
    latents, which samples from the prior may miss (Makhzani et al. 2015, arXiv:1511.05644,
    section 2; Tomczak & Welling 2018, arXiv:1705.07120).
    """

    def fit(self, model: Any, embedding: Embedding, seed: int) -> None:
        if embedding.is_gaussian:
            self._mean = np.asarray(embedding.parameters["mean"])
            self._deviation = np.exp(0.5 * np.asarray(embedding.parameters["log_variance"]))
        else:
            self._mean = np.asarray(embedding.latents)
            self._deviation = np.zeros_like(self._mean)

    def sample(self, num_samples: int, seed: int) -> np.ndarray:
        with random.keyed(seed, "aggregate posterior sampler", 0):
            uniform = np.asarray(random.uniform((num_samples, 1), "float64"))[:, 0]
            noise = np.asarray(random.normal((num_samples, self._mean.shape[1]), self._mean.dtype.name))
        # `uniform` is in (0, 1], so 1 − `uniform` is in [0, 1).
        chosen = ((1.0 - uniform) * len(self._mean)).astype(np.int64)
        return self._mean[chosen] + self._deviation[chosen] * noise


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
