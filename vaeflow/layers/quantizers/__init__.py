"""Quantizers: posteriors whose latents are codes; and the prior over codes."""

from vaeflow.layers.quantizers.base import Quantized, Quantizer
from vaeflow.layers.quantizers.codebook import Codebook
from vaeflow.layers.quantizers.uniform_codes import UniformCodes
from vaeflow.layers.quantizers.vector_quantizer import VectorQuantizer

__all__ = ["Codebook", "Quantized", "Quantizer", "UniformCodes", "VectorQuantizer"]
