"""The prior over codes under which all are equally likely."""

from typing import Any

from vaeflow import registry
from vaeflow.distributions import UniformOverCodes
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape
from vaeflow.layers.priors import Prior


@registry.prior
class UniformCodes(Prior):
    """Each code of the posterior is as likely as the others, at each place.

    The prior with which van den Oord et al. 2017 (arXiv:1711.00937, section 3.1) train: the KL of a
    quantizer is the constant Σ_g log K_g at each place. Of a `GumbelSoftmaxPosterior` it is log K less
    the entropy of each variable. Images that are sampled from it are noise, for it knows
    nothing of how codes follow one another.
    """

    latents_rank = None

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""
        self.places: Any = tuple(input_shape[1:-1])

    def distribution(self, model: Any) -> UniformOverCodes:
        posterior: Any = getattr(model, "posterior", None)
        if not hasattr(posterior, "code_sizes"):
            name = type(model).__name__
            raise ConfigurationError(
                f"UniformCodes needs a posterior of codes, got {type(posterior).__name__}; set "
                f"`{name}.posterior` to @VectorQuantizer(), or choose another `{name}.prior`"
            )
        return UniformOverCodes(posterior.code_sizes, self.places, posterior.embed_codes)
