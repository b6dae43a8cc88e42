"""Callbacks that tell a tracker of experiments about a run."""

from vaeflow.callbacks.trackers.mlflow import MLflow
from vaeflow.callbacks.trackers.tracking import Tracking
from vaeflow.callbacks.trackers.wandb import WandB

__all__ = ["MLflow", "Tracking", "WandB"]
