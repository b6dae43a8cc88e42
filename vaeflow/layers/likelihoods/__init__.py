"""Likelihoods p(x|z): how a decoder's output becomes a distribution over images; one for each file."""

from vaeflow.layers.likelihoods.base import Likelihood
from vaeflow.layers.likelihoods.bernoulli import BernoulliLikelihood
from vaeflow.layers.likelihoods.categorical import CategoricalLikelihood
from vaeflow.layers.likelihoods.continuous_bernoulli import ContinuousBernoulliLikelihood
from vaeflow.layers.likelihoods.gaussian import GaussianLikelihood
from vaeflow.layers.likelihoods.laplace import LaplaceLikelihood
from vaeflow.layers.likelihoods.logistic_mixture import LogisticMixtureLikelihood
from vaeflow.layers.likelihoods.negative_binomial import NegativeBinomialLikelihood
from vaeflow.layers.likelihoods.poisson import PoissonLikelihood
from vaeflow.layers.likelihoods.structural_similarity import StructuralSimilarityLikelihood
from vaeflow.layers.likelihoods.student_t import StudentTLikelihood

__all__ = [
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "ContinuousBernoulliLikelihood",
    "GaussianLikelihood",
    "LaplaceLikelihood",
    "Likelihood",
    "LogisticMixtureLikelihood",
    "NegativeBinomialLikelihood",
    "PoissonLikelihood",
    "StructuralSimilarityLikelihood",
    "StudentTLikelihood",
]
