"""Metrics that an evaluation reports in addition to the objective, and scores of latents.

Importing this package does not import TensorFlow: the names below are resolved when they are first used,
so that the processes that compute a score start quickly.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeflow.metrics.base import Metric
    from vaeflow.metrics.disentanglement import Score
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
    "Score",
]

_MODULES = {
    "Metric": "base",
    "MultiScaleSimilarity": "multi_scale_similarity",
    "ReconstructionQuality": "reconstruction_quality",
    "Score": "disentanglement",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'fidelity')}"), name)
