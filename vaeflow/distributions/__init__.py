"""Probability distributions as plain values without variables.

Log densities and divergences are in nats. They are computed in float32, or in float64 for
parameters in float64; half-precision parameters are cast first.
"""

from vaeflow.distributions.base import Distribution, ImageDistribution, closed_kl, has_density, is_discrete
from vaeflow.distributions.bernoulli import Bernoulli
from vaeflow.distributions.categorical import Categorical
from vaeflow.distributions.class_vector import ClassVector
from vaeflow.distributions.codes import CodePoint, UniformOverCodes
from vaeflow.distributions.continuous_bernoulli import ContinuousBernoulli
from vaeflow.distributions.gaussian import Gaussian
from vaeflow.distributions.laplace import Laplace
from vaeflow.distributions.levels import CategoricalLevels
from vaeflow.distributions.logistic_mixture import LogisticMixture
from vaeflow.distributions.mixture import Mixture
from vaeflow.distributions.negative_binomial import NegativeBinomial
from vaeflow.distributions.one_hot import OneHotCategorical, RelaxedOneHotCategorical
from vaeflow.distributions.point import Point
from vaeflow.distributions.poisson import Poisson
from vaeflow.distributions.structural_similarity import StructuralSimilarity
from vaeflow.distributions.student_t import StudentT
from vaeflow.distributions.transformed import Flow, Transformed
from vaeflow.distributions.von_mises_fisher import UniformOnSphere, VonMisesFisher

__all__ = [
    "Bernoulli",
    "Categorical",
    "CategoricalLevels",
    "ClassVector",
    "CodePoint",
    "ContinuousBernoulli",
    "Distribution",
    "Flow",
    "Gaussian",
    "ImageDistribution",
    "Laplace",
    "LogisticMixture",
    "Mixture",
    "NegativeBinomial",
    "OneHotCategorical",
    "Point",
    "Poisson",
    "RelaxedOneHotCategorical",
    "StructuralSimilarity",
    "StudentT",
    "Transformed",
    "UniformOnSphere",
    "UniformOverCodes",
    "VonMisesFisher",
    "closed_kl",
    "has_density",
    "is_discrete",
]
