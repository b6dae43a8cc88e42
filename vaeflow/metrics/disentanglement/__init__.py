"""Scores of how well latents are disentangled: what each tells about the factors of the images."""

from vaeflow.metrics.disentanglement.base import Score
from vaeflow.metrics.disentanglement.factor_grid import FactorGrid
from vaeflow.metrics.disentanglement.mig import MIG
from vaeflow.metrics.disentanglement.representations import FreshImages, Pool, Representations

__all__ = ["MIG", "FactorGrid", "FreshImages", "Pool", "Representations", "Score"]
