"""Quantizers: posteriors whose latents are codes; and the prior over codes."""

from vaeflow.layers.quantizers.base import Quantized, Quantizer
from vaeflow.layers.quantizers.fsq import FSQ
from vaeflow.layers.quantizers.lfq import LFQ
from vaeflow.layers.quantizers.residual_quantizer import ResidualQuantizer
from vaeflow.layers.quantizers.uniform_codes import UniformCodes
from vaeflow.layers.quantizers.vector_quantizer import VectorQuantizer

__all__ = ["FSQ", "LFQ", "Quantized", "Quantizer", "ResidualQuantizer", "UniformCodes", "VectorQuantizer"]
