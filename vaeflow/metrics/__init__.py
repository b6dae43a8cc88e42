"""Metrics that an evaluation reports in addition to the objective."""

from vaeflow.metrics.base import Metric
from vaeflow.metrics.fidelity import FeatureMetric, FrechetDistance, KernelDistance, PrecisionRecall
from vaeflow.metrics.multi_scale_similarity import MultiScaleSimilarity
from vaeflow.metrics.reconstruction_quality import ReconstructionQuality

__all__ = [
    "FeatureMetric",
    "FrechetDistance",
    "KernelDistance",
    "Metric",
    "MultiScaleSimilarity",
    "PrecisionRecall",
    "ReconstructionQuality",
]
