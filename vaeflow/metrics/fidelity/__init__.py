"""Measures of two sets of images, which compare the features that a net gives of them."""

from vaeflow.metrics.fidelity.base import SETS, FeatureMetric
from vaeflow.metrics.fidelity.features import Features, GaussianFit
from vaeflow.metrics.fidelity.frechet_distance import FrechetDistance
from vaeflow.metrics.fidelity.kernel_distance import KernelDistance
from vaeflow.metrics.fidelity.precision_recall import PrecisionRecall

__all__ = [
    "SETS",
    "FeatureMetric",
    "Features",
    "FrechetDistance",
    "GaussianFit",
    "KernelDistance",
    "PrecisionRecall",
]
