"""Distributions over latents that new images are drawn from, fitted to a trained model."""

from vaeflow.samplers.aggregate_posterior import AggregatePosteriorSampler
from vaeflow.samplers.base import Embedding, Sampler
from vaeflow.samplers.codes import CodeSampler
from vaeflow.samplers.flow import FlowSampler
from vaeflow.samplers.gaussian_mixture import COVARIANCE_TYPES, GaussianMixtureSampler
from vaeflow.samplers.prior import PriorSampler
from vaeflow.samplers.vamp_prior import VampPriorSampler

__all__ = [
    "COVARIANCE_TYPES",
    "AggregatePosteriorSampler",
    "CodeSampler",
    "Embedding",
    "FlowSampler",
    "GaussianMixtureSampler",
    "PriorSampler",
    "Sampler",
    "VampPriorSampler",
]
