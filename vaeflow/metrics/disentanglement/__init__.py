"""Scores of how well latents are disentangled: what each tells about the factors of the images."""

from vaeflow.metrics.disentanglement.base import Score
from vaeflow.metrics.disentanglement.beta_vae_score import BetaVAEScore
from vaeflow.metrics.disentanglement.comparison import Comparison, Latents
from vaeflow.metrics.disentanglement.dci import DCI
from vaeflow.metrics.disentanglement.factor_grid import FactorGrid
from vaeflow.metrics.disentanglement.factor_vae_score import FactorVAEScore
from vaeflow.metrics.disentanglement.irs import IRS
from vaeflow.metrics.disentanglement.mig import MIG
from vaeflow.metrics.disentanglement.modularity_explicitness import ModularityExplicitness
from vaeflow.metrics.disentanglement.representations import FreshImages, Pool, Representations
from vaeflow.metrics.disentanglement.sap import SAP
from vaeflow.metrics.disentanglement.udr import UDR
from vaeflow.metrics.disentanglement.unsupervised import UnsupervisedScores

__all__ = [
    "DCI",
    "IRS",
    "MIG",
    "SAP",
    "UDR",
    "BetaVAEScore",
    "Comparison",
    "FactorGrid",
    "FactorVAEScore",
    "FreshImages",
    "Latents",
    "ModularityExplicitness",
    "Pool",
    "Representations",
    "Score",
    "UnsupervisedScores",
]
