"""Layers of models: encoders, decoders, likelihoods and priors."""

from vaeflow.layers.base import Decoder, Layer
from vaeflow.layers.conv import ConvDecoder, ConvEncoder
from vaeflow.layers.dense import DenseDecoder, DenseEncoder
from vaeflow.layers.gaussian_head import GaussianHead
from vaeflow.layers.likelihoods import BernoulliLikelihood, GaussianLikelihood, Likelihood
from vaeflow.layers.priors import Prior, StandardNormalPrior
from vaeflow.layers.resnet import ResNetDecoder, ResNetEncoder
from vaeflow.layers.sampling import Sampling

__all__ = [
    "BernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "Decoder",
    "DenseDecoder",
    "DenseEncoder",
    "GaussianHead",
    "GaussianLikelihood",
    "Layer",
    "Likelihood",
    "Prior",
    "ResNetDecoder",
    "ResNetEncoder",
    "Sampling",
    "StandardNormalPrior",
]
