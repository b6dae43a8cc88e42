"""Likelihoods p(x|z): how a decoder's output becomes a distribution over images; one for each file."""

from vaeflow.layers.likelihoods.base import Likelihood
from vaeflow.layers.likelihoods.bernoulli import BernoulliLikelihood
from vaeflow.layers.likelihoods.gaussian import GaussianLikelihood
from vaeflow.layers.likelihoods.laplace import LaplaceLikelihood

__all__ = [
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
]
