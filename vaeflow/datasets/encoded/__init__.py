"""Shards of codes and latents with their manifest: how they are written, and datasets that read them."""

from vaeflow.datasets.encoded.sources import Codes, Latents

__all__ = ["Codes", "Latents"]
