"""Callbacks: what happens between two loops of training, one effect per file."""

from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.callbacks.checkpoints import Checkpoints
from vaeflow.callbacks.early_stopping import EarlyStopping
from vaeflow.callbacks.evaluation import Evaluation
from vaeflow.callbacks.images import Images
from vaeflow.callbacks.mirror import Mirror
from vaeflow.callbacks.progress import Progress
from vaeflow.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
from vaeflow.callbacks.summaries import Summaries
from vaeflow.callbacks.trackers import MLflow, WandB

Run = RunContext  # Its name in plug-ins written before it was renamed.

__all__ = [
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "Evaluation",
    "Images",
    "MLflow",
    "Mirror",
    "Progress",
    "ReduceLROnPlateau",
    "Run",
    "RunContext",
    "Summaries",
    "WandB",
]
