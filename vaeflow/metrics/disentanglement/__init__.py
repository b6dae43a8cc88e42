"""Scores of how well latents are disentangled: what each tells about the factors of the images."""

from vaeflow.metrics.disentanglement.base import Score
from vaeflow.metrics.disentanglement.beta_vae_score import BetaVAEScore
from vaeflow.metrics.disentanglement.factor_grid import FactorGrid
from vaeflow.metrics.disentanglement.factor_vae_score import FactorVAEScore
from vaeflow.metrics.disentanglement.mig import MIG
from vaeflow.metrics.disentanglement.representations import FreshImages, Pool, Representations
from vaeflow.metrics.disentanglement.sap import SAP

__all__ = [
    "MIG",
    "SAP",
    "BetaVAEScore",
    "FactorGrid",
    "FactorVAEScore",
    "FreshImages",
    "Pool",
    "Representations",
    "Score",
]
