"""Metrics that an evaluation reports in addition to the objective."""

from vaeflow.metrics.base import Metric
from vaeflow.metrics.reconstruction_quality import ReconstructionQuality

__all__ = ["Metric", "ReconstructionQuality"]
