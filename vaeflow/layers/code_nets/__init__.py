"""Nets over maps of codes, each of which depends on the codes before it."""

from vaeflow.layers.code_nets.base import CodeNet
from vaeflow.layers.code_nets.pixel_cnn import PixelCNN
from vaeflow.layers.code_nets.transformer import CausalTransformer

__all__ = ["CausalTransformer", "CodeNet", "PixelCNN"]
