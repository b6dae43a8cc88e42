"""Compares images with those that a model of codes and its tokenizer make together."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow import trained
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.feature_comparison import FeatureComparison
from vaeflow.commands import tokenizers
from vaeflow.metrics import FeatureMetric


class DecodedCodes:
    """Samples of a model of codes, decoded to images by its tokenizer.

    Args:
      prior: the model of codes.
      tokenizer: a `VAE` whose posterior has codes.
    """

    def __init__(self, prior: Any, tokenizer: Any):
        self.reads = prior.reads
        self._prior = prior
        self._tokenizer = tokenizer

    def sample(self, num_samples: int, labels: Any = None) -> tf.Tensor:
        """Returns the means of p(x|codes), `[n, H, W, C]`; arguments as for `LatentModel.sample`."""
        codes = self._prior.sample(num_samples, labels)
        seen = labels if "labels" in self._tokenizer.reads else None
        return self._tokenizer.decode_codes(codes, seen).mean


def compare(
    run: trained.Trained,
    tokenizer: str | None,
    metrics: Sequence[FeatureMetric],
    split: str,
    num_examples: int | None,
    batch_size: int,
    seed: int,
) -> FeatureComparison:
    """Prepares the comparison of images with their reconstructions and with decoded samples.

    Args:
      run: the run of a model of codes.
      tokenizer: the work folder of the tokenizer; None for the one that the manifest of the codes names.
      metrics: a list of `FeatureMetric`s.
      split: of the tokenizer's dataset.
      num_examples: how many images, spread evenly over the split; None for all.
      batch_size: the global batch size.
      seed: keys the noise.

    Raises:
      ConfigurationError: see `tokenizers.restored_for` and `FeatureComparison`.
      DataError: the images of the tokenizer cannot be read.
    """
    decoder = tokenizers.restored_for(run, tokenizer)
    images = Examples(decoder.model, decoder.split(split), run.strategy, batch_size, seed)
    sampler = DecodedCodes(run.model, decoder.model)
    return FeatureComparison(images.spread(num_examples), metrics, sampler)
