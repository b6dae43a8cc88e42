"""Pixels scored by structural similarity and L1: no density, but a loss closer to what people see."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import StructuralSimilarity
from vaeflow.distributions.structural_similarity import WEIGHTS, WINDOW, most_scales
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood


@registry.likelihood
class StructuralSimilarityLikelihood(Likelihood):
    """Scores images by MS-SSIM, mixed with L1, around the decoder's output.

    −log p is [α (1 − MS-SSIM(x, x̂)) + (1 − α) mean |x − x̂|] · P / b for images of P numbers: the loss
    of Zhao et al. 2017 (arXiv:1511.08861, section III), with the similarity of Wang et al. 2003, Eq. 7. It
    is not normalized, so the ELBO is no bound of a likelihood, and bits per dimension are left out.

    Deviations: the similarity is the product of means over the image at halved sizes, as in Wang et al.,
    where Zhao et al. keep the size and widen the window; and L1 has equal weights everywhere, where
    theirs has Gaussian weights around each pixel, which add up to the same but for the border.

    Args:
      alpha: α, from 0 to 1; the paper's by default.
      scale: b, as of a `LaplaceLikelihood`, which it is for α = 0 but for the constants.
      num_scales: how many scales the similarity has, from 1 to 5. The coarsest must hold the window of 11
        pixels; each halves the size. None takes the most that fit.

    Raises:
      ValueError: a setting is out of range.
    """

    measure = None

    def __init__(self, alpha: float = 0.84, scale: float = 1.0, num_scales: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        own = "StructuralSimilarityLikelihood"
        self.alpha = validation.probability(f"{own}.alpha", alpha)
        self.scale = validation.positive_number(f"{own}.scale", scale)
        if num_scales is not None:
            validation.positive_integer(f"{own}.num_scales", num_scales, most=len(WEIGHTS))
        self.num_scales = num_scales

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""
        height, width, _ = input_shape[1:]
        most = most_scales((height, width))  # pyright: ignore[reportArgumentType] A decoder's sizes are known.
        if most < (self.num_scales or 1):
            setting = "StructuralSimilarityLikelihood.num_scales"
            advice = f"set `{setting} = {most}`, the most that fit" if most else "choose another likelihood"
            raise ConfigurationError(
                f"`{setting}` is {self.num_scales or 1}, and images of {height} x {width} pixels are too "
                f"small: the coarsest scale needs {WINDOW} pixels along each side; {advice}"
            )
        self._scales = self.num_scales or most

    def distribution(self, outputs: tf.Tensor) -> StructuralSimilarity:
        return StructuralSimilarity(outputs, self.alpha, self.scale, self._scales)
