"""The base class of metrics that compare sets of images by features."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow import validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.feature_net import FeatureNet
from vaeflow.metrics.base import Metric
from vaeflow.metrics.fidelity.features import Features, FeatureSet

# The sets that are compared with the images of a split -> the prefix of their results.
SETS = {"reconstructions": "r", "samples": "g"}


class FeatureMetric(Metric):
    """Compares the images of a split with what a model makes, by the features of a net.

    `reconstructions` are the means of p(x|z) at the center of the posterior of each image,
    without noise; `samples` the means of p(x|z) for z ~ p(z), as many as images unless
    `num_samples` says otherwise. Samples of a model that reads labels are given those of the images.
    Pixels of both are clipped to [0, 1] and not rounded. Each image counts once, in the order of the
    split, and the noise of a sample depends on its number: batch size and replicas do not matter.

    The names of the results begin with `r` for reconstructions and `g` for generated samples, as in
    rFID and gFID, and name the net by the first digits of its file's SHA-256.

    Args:
      net: a `FeatureNet`. Metrics with equal nets share the features.
      of: `"reconstructions"`, `"samples"`, or a list of both; None for what is defined for the model.
      num_samples: how many samples; None for as many as images.

    Example:
        @registry.metric
        class DistanceOfMeans(FeatureMetric):
            def compare(self, real, other, seed):
                difference = real.array.mean(axis=0) - other.array.mean(axis=0)
                return {"distance": float(np.linalg.norm(difference))}
    """

    needs_latents = True

    # What is kept of the features of a set: all of them, or less.
    keeps: type[FeatureSet] = Features

    # The fewest images of a set that it is defined for.
    fewest_images = 2

    def __init__(
        self, net: FeatureNet, of: str | Sequence[str] | None = None, num_samples: int | None = None
    ):
        name = type(self).__name__
        if not isinstance(net, FeatureNet):
            raise ValueError(
                f"`{name}.net` must be a FeatureNet, got {net!r}; in a gin file write "
                f"{name}.net = @FeatureNet() with parentheses, and set `FeatureNet.file`"
            )
        self.net = net
        chosen = [of] if isinstance(of, str) else of
        if chosen is not None:
            if not isinstance(chosen, (list, tuple)) or not chosen:
                raise ValueError(f"`{name}.of` must be a list of {', '.join(map(repr, SETS))}, got {of!r}")
            chosen = tuple(validation.one_of(f"{name}.of", each, tuple(SETS)) for each in chosen)
        self.of = chosen
        if num_samples is not None:
            num_samples = validation.positive_integer(f"{name}.num_samples", num_samples)
        self.num_samples = num_samples

    def per_example(self, model: Any, forward: Any) -> dict[str, tf.Tensor]:
        """Measures nothing of a single image."""
        return {}

    def compare(self, real: Any, other: Any, seed: int) -> dict[str, float]:
        """Compares the features of two sets, in NumPy on the host.

        Args:
          real: of the images of the split, an instance of `keeps`, e.g. `real.array` `[n, D]`.
          other: of what the model makes, the same.
          seed: of the evaluation, for a measure that draws.

        Returns:
          A dict from names, without the prefix of the set, to floats.
        """
        raise NotImplementedError

    def conditions(self, of: str) -> list[str]:
        """Lists the settings that decide the figures of a set, for the names of the results."""
        return [f"samples={self.num_samples}"] if of == "samples" and self.num_samples else []

    def check_num_images(self, num_images: int, of: str) -> None:
        """Raises `ConfigurationError` where a set has too few images for the metric."""
        if num_images < self.fewest_images:
            raise ConfigurationError(
                f"{type(self).__name__} needs {self.fewest_images} images or more of each set, got "
                f"{num_images} {of}; evaluate more"
            )
