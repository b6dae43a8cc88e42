"""Grey pixels with the density that the cross-entropy lacks."""

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import ContinuousBernoulli
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood


@registry.likelihood
class ContinuousBernoulliLikelihood(Likelihood):
    """Each pixel is a continuous Bernoulli variable with the decoder's output as its logit.

    Loaiza-Ganem & Cunningham 2019 (arXiv:1907.06845, section 3): the cross-entropy of grey pixels with the
    constant that makes it a density over [0, 1].
    """

    measure = "density"

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""

    def distribution(self, outputs: tf.Tensor) -> ContinuousBernoulli:
        return ContinuousBernoulli(outputs)
