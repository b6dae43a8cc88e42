"""Metrics: what an evaluation reports of a model besides its objective."""

from vaeflow.metrics.base import Metric
from vaeflow.metrics.reconstruction_quality import ReconstructionQuality

__all__ = ["Metric", "ReconstructionQuality"]
