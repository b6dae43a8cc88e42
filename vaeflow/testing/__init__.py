"""Checks that a model keeps what training relies on, for vaeflow's own models and for yours.

from vaeflow import testing
from my_package.models import MyVAE

def test_my_model():
    testing.check_model(MyVAE)
"""

from vaeflow.testing.all_checks import CHECKS, check_model
from vaeflow.testing.lifecycle import check_fit, check_resume, check_saving
from vaeflow.testing.noise import check_latents, check_noise, check_samples
from vaeflow.testing.objective import check_gradients, check_parts, check_side_effects, check_terms
from vaeflow.testing.replicas import check_replicas

__all__ = [
    "CHECKS",
    "check_fit",
    "check_gradients",
    "check_latents",
    "check_model",
    "check_noise",
    "check_parts",
    "check_replicas",
    "check_resume",
    "check_samples",
    "check_saving",
    "check_side_effects",
    "check_terms",
]
