"""Priors that are mixtures of Gaussians: trained components, or the posteriors of pseudo-inputs."""

import math
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian, Mixture
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape
from vaeflow.layers.priors import Prior

STARTS = ("random", "data")


@registry.prior
class MixturePrior(Prior):
    """A trained mixture of Gaussians, p(z) = Σ_k π_k N(z; μ_k, diag σ_k²).

    The prior "MoG" that Tomczak & Welling 2018 (arXiv:1705.07120) compare theirs with; the weights
    π are trained too, as in VaDE (Jiang et al. 2017, arXiv:1611.05148). They begin equal. The KL
    is estimated from the sample, since it has no closed form.

    Args:
      num_components: K.
      initial_spread: the standard deviation of the initial means μ_k around 0.
      initial_deviation: the initial σ_k, of every latent.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_components: int = 10,
        initial_spread: float = 1.0,
        initial_deviation: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_components = validation.positive_integer("MixturePrior.num_components", num_components)
        # Above 0: components that are equal get equal gradients, and stay equal.
        spread = validation.positive_number("MixturePrior.initial_spread", initial_spread)
        deviation = validation.positive_number("MixturePrior.initial_deviation", initial_deviation)
        # Made here, where it takes its seed in the order of the blocks.
        self.mean_initializer = keras.initializers.RandomNormal(stddev=spread)
        self.initial_log_variance = 2.0 * math.log(deviation)

    def build(self, input_shape: Shape) -> None:
        count, shape = self.num_components, (self.num_components, input_shape[-1])
        log_variance = keras.initializers.Constant(self.initial_log_variance)
        self.logits = _weight(self, (count,), "zeros", "logits")
        self.means = _weight(self, shape, self.mean_initializer, "means")
        self.log_variances = _weight(self, shape, log_variance, "log_variances")

    def distribution(self, model: Any) -> Mixture:
        variables = self.logits, self.means, self.log_variances
        return Mixture(*(tf.cast(variable, model.variable_dtype) for variable in variables))


@registry.prior
class VampPrior(Prior):
    """The mixture of the posteriors of pseudo-inputs, p(z) = 1/K Σ_k q(z|u_k).

    Tomczak & Welling 2018 (arXiv:1705.07120), Eq. 9. The pseudo-inputs u_k are images that are
    trained with the model. As in the authors' program they are clipped to [0, 1], the range of
    images, so a pixel that leaves it gets no gradient any more.

    The encoder sees them as it sees images in evaluation, `training=False`: p(z) is then the same
    in training and in evaluation, and for every example. The paper's nets have no layer for which
    this makes a difference. In a model with several groups of latents it is the prior of the first.

    Args:
      num_pseudo_inputs: K.
      start: where the pseudo-inputs begin: `"random"`, or `"data"`, at training images, chosen
        by the seed of the run (the paper's "VampPrior data"). They are not shifted by noise, as
        the authors' are, which would clip half of the black and white pixels. `Trainer` and
        `vaeflow train` give the images; `fit` does not: call `start_from_examples` before it.
      initial_mean: the mean of the pixels that begin at random. The authors take 0.05 for MNIST,
        0.4 or 0.8 for brighter images.
      initial_deviation: their standard deviation.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_pseudo_inputs: int = 500,
        start: str = "random",
        initial_mean: float = 0.05,
        initial_deviation: float = 0.01,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        count = validation.positive_integer("VampPrior.num_pseudo_inputs", num_pseudo_inputs)
        mean = validation.finite_number("VampPrior.initial_mean", initial_mean)
        # Above 0: pseudo-inputs that are equal get equal gradients, and stay equal.
        deviation = validation.positive_number("VampPrior.initial_deviation", initial_deviation)
        validation.one_of("VampPrior.start", start, STARTS)
        self.num_pseudo_inputs = count
        self.num_start_examples = count if start == "data" else 0
        # Made here, where it takes its seed in the order of the blocks.
        self.initializer = keras.initializers.RandomNormal(mean, deviation)

    def build(self, input_shape: Shape) -> None:
        if self.image_shape is None:
            raise ConfigurationError(
                "`VampPrior.image_shape` must be (height, width, channels), got None; a model sets it, so "
                "set it only to build the prior alone"
            )
        shape = (self.num_pseudo_inputs, *self.image_shape)
        self.pseudo_inputs = _weight(self, shape, self.initializer, "pseudo_inputs")

    def get_build_config(self) -> dict[str, Any]:
        """Returns what `build` needs to know, for Keras' files."""
        return (super().get_build_config() or {}) | {"image_shape": self.image_shape}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Builds the prior as it was when Keras saved it."""
        self.image_shape = config["image_shape"]
        super().build_from_config(config)

    def start_from_examples(self, batch: dict[str, tf.Tensor], model: Any) -> None:
        self.pseudo_inputs.assign(batch["images"])

    def distribution(self, model: Any) -> Mixture:
        if "labels" in model.reads:
            name = type(model).__name__
            raise ConfigurationError(
                f"VampPrior encodes pseudo-inputs, and {name} would need a label of each; choose another "
                f"`{name}.prior`, such as @MixturePrior()"
            )
        pseudo_inputs = tf.cast(self.pseudo_inputs, model.variable_dtype)
        posterior = model.encode(tf.clip_by_value(pseudo_inputs, 0.0, 1.0))
        if isinstance(posterior, dict):
            posterior = next(iter(posterior.values()))
        if not isinstance(posterior, Gaussian):
            name = type(model).__name__
            raise ConfigurationError(
                f"VampPrior is defined for a Gaussian posterior, got {type(posterior).__name__}; set "
                f"`{name}.posterior` to @GaussianPosterior(), or choose another `{name}.prior`"
            )
        means = posterior.mean
        log_variances = tf.broadcast_to(posterior.log_variance, tf.shape(means))
        return Mixture(tf.zeros(self.num_pseudo_inputs, means.dtype), means, log_variances)


def _weight(layer, shape, initializer, name):
    # Keras would cast it to the half precision of a model's `call`.
    return layer.add_weight(shape=shape, initializer=initializer, name=name, autocast=False)
