"""Models: what is trained."""

from vaeflow.models.beta_vae import BetaVAE
from vaeflow.models.conv_vae import ConvVAE
from vaeflow.models.vae import VAE, Forward, Term

__all__ = ["BetaVAE", "ConvVAE", "Forward", "Term", "VAE"]
