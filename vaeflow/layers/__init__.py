"""Layers of models: encoders, decoders, posteriors, likelihoods and priors."""

from vaeflow.layers.adversary import Adversary
from vaeflow.layers.attention_maps import AttentionMapDecoder, AttentionMapEncoder
from vaeflow.layers.base import Decoder, Layer
from vaeflow.layers.bottlenecks import BottleneckEncoder
from vaeflow.layers.code_nets import CausalTransformer, CodeNet, PixelCNN
from vaeflow.layers.conditional_prior import ConditionalGaussianPrior, ConditionalPrior
from vaeflow.layers.conv import ConvDecoder, ConvEncoder
from vaeflow.layers.conv_maps import ConvMapDecoder, ConvMapEncoder
from vaeflow.layers.denoiser import Denoiser
from vaeflow.layers.dense import DenseDecoder, DenseEncoder
from vaeflow.layers.feature_discriminator import FeatureDiscriminator
from vaeflow.layers.feature_net import FeatureNet
from vaeflow.layers.flow_prior import FlowPrior
from vaeflow.layers.frozen import FrozenNet
from vaeflow.layers.gaussian_map import GaussianMap, GaussianMapPosterior
from vaeflow.layers.gumbel_softmax_posterior import GumbelSoftmaxPosterior
from vaeflow.layers.iaf_posterior import IAFPosterior
from vaeflow.layers.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
    LaplaceLikelihood,
    Likelihood,
    LogisticMixtureLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StructuralSimilarityLikelihood,
    StudentTLikelihood,
)
from vaeflow.layers.mixture_priors import MixturePrior, VampPrior
from vaeflow.layers.patch_discriminator import PatchDiscriminator
from vaeflow.layers.perceptual import PerceptualDistance
from vaeflow.layers.planar_posterior import PlanarPosterior
from vaeflow.layers.posteriors import DeterministicPosterior, GaussianPosterior, Posterior
from vaeflow.layers.priors import Prior, StandardNormalPrior
from vaeflow.layers.quantizers import (
    FSQ,
    LFQ,
    Quantizer,
    ResidualQuantizer,
    UniformCodes,
    VectorQuantizer,
)
from vaeflow.layers.residual_maps import ResidualMapDecoder, ResidualMapEncoder
from vaeflow.layers.resnet import ResNetDecoder, ResNetEncoder
from vaeflow.layers.spline_posterior import SplinePosterior
from vaeflow.layers.top_down import TopDownDecoder
from vaeflow.layers.von_mises_fisher import UniformSpherePrior, VonMisesFisherPosterior

__all__ = [
    "FSQ",
    "LFQ",
    "Adversary",
    "AttentionMapDecoder",
    "AttentionMapEncoder",
    "BernoulliLikelihood",
    "BottleneckEncoder",
    "CategoricalLikelihood",
    "CausalTransformer",
    "CodeNet",
    "ConditionalGaussianPrior",
    "ConditionalPrior",
    "ContinuousBernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "ConvMapDecoder",
    "ConvMapEncoder",
    "Decoder",
    "Denoiser",
    "DenseDecoder",
    "DenseEncoder",
    "DeterministicPosterior",
    "FeatureDiscriminator",
    "FeatureNet",
    "FlowPrior",
    "FrozenNet",
    "GaussianLikelihood",
    "GaussianMap",
    "GaussianMapPosterior",
    "GaussianPosterior",
    "GumbelSoftmaxPosterior",
    "IAFPosterior",
    "LaplaceLikelihood",
    "Layer",
    "Likelihood",
    "LogisticMixtureLikelihood",
    "MixturePrior",
    "NegativeBinomialLikelihood",
    "PatchDiscriminator",
    "PerceptualDistance",
    "PixelCNN",
    "PlanarPosterior",
    "PoissonLikelihood",
    "Posterior",
    "Prior",
    "Quantizer",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualMapDecoder",
    "ResidualMapEncoder",
    "ResidualQuantizer",
    "SplinePosterior",
    "StandardNormalPrior",
    "StructuralSimilarityLikelihood",
    "StudentTLikelihood",
    "TopDownDecoder",
    "UniformCodes",
    "UniformSpherePrior",
    "VampPrior",
    "VectorQuantizer",
    "VonMisesFisherPosterior",
]
