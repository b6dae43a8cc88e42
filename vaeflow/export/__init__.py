"""Exports a trained model: formats for other programs, each checked, and a model card."""

from vaeflow.export.card import model_card
from vaeflow.export.formats import FORMATS, modules_of, refuse_missing_packages, refuse_precision, write
from vaeflow.export.fresh_process import check
from vaeflow.export.inference import InferenceModule, module_of
from vaeflow.export.scale import encoding_of

__all__ = [
    "FORMATS",
    "InferenceModule",
    "check",
    "encoding_of",
    "model_card",
    "module_of",
    "modules_of",
    "refuse_missing_packages",
    "refuse_precision",
    "write",
]
