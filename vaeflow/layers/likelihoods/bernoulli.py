"""Pixels that are 0 or 1."""

import tensorflow as tf

from vaeflow import registry
from vaeflow.distributions import Bernoulli
from vaeflow.layers.base import Shape
from vaeflow.layers.likelihoods.base import Likelihood


@registry.likelihood
class BernoulliLikelihood(Likelihood):
    """Each pixel is a Bernoulli variable with the decoder's output as its logit.

    Grey pixels are scored by the cross-entropy, as is usual for MNIST (Kingma & Welling
    2014, arXiv:1312.6114, appendix C.1).
    """

    measure = "binary"

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""

    def distribution(self, outputs: tf.Tensor) -> Bernoulli:
        return Bernoulli(outputs)
