"""Models: what is trained."""

from vaeflow.layers.terms import Term, Update
from vaeflow.models.ada_gvae import AdaGVAE
from vaeflow.models.adversarial_autoencoder import AdversarialAutoencoder
from vaeflow.models.annealed_vae import AnnealedVAE
from vaeflow.models.autoencoder import Autoencoder
from vaeflow.models.autoencoder_kl import AutoencoderKL
from vaeflow.models.base import Model
from vaeflow.models.beta_tc_vae import BetaTCVAE
from vaeflow.models.beta_vae import BetaVAE
from vaeflow.models.code_prior import CodePrior
from vaeflow.models.conditional_vae import ConditionalVAE
from vaeflow.models.conv_vae import ConvVAE
from vaeflow.models.diffusion_prior import DiffusionPrior
from vaeflow.models.dip_vae import DIPVAE
from vaeflow.models.factor_vae import FactorVAE
from vaeflow.models.forward import Forward
from vaeflow.models.hierarchical_vae import HierarchicalVAE
from vaeflow.models.info_vae import InfoVAE
from vaeflow.models.iwae import IWAE
from vaeflow.models.joint_vae import JointVAE
from vaeflow.models.ladder_vae import LadderVAE
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.m2 import M2
from vaeflow.models.rae import RAE
from vaeflow.models.swae import SWAE
from vaeflow.models.tokenizer import Tokenizer
from vaeflow.models.vae import VAE
from vaeflow.models.vae_gan import VAEGAN
from vaeflow.models.vq_vae import VQVAE
from vaeflow.models.vqgan import VQGAN
from vaeflow.models.wae import WAE

__all__ = [
    "DIPVAE",
    "IWAE",
    "M2",
    "RAE",
    "SWAE",
    "VAE",
    "VAEGAN",
    "VQGAN",
    "VQVAE",
    "WAE",
    "AdaGVAE",
    "AdversarialAutoencoder",
    "AnnealedVAE",
    "Autoencoder",
    "AutoencoderKL",
    "BetaTCVAE",
    "BetaVAE",
    "CodePrior",
    "ConditionalVAE",
    "ConvVAE",
    "DiffusionPrior",
    "FactorVAE",
    "Forward",
    "HierarchicalVAE",
    "InfoVAE",
    "JointVAE",
    "LadderVAE",
    "LatentModel",
    "Model",
    "Term",
    "Tokenizer",
    "Update",
]
