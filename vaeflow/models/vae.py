"""The variational autoencoder, and the base class of its variants."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import Distribution, ImageDistribution
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers import (
    BernoulliLikelihood,
    Decoder,
    DenseDecoder,
    DenseEncoder,
    GaussianPosterior,
    Likelihood,
    Posterior,
    Prior,
    StandardNormalPrior,
)
from vaeflow.layers.base import Shape, build_chain, build_once
from vaeflow.models.base import Model
from vaeflow.models.terms import Forward, Term


def _distribution_of(block, argument, needed, example):
    """Calls `distribution` of a block, which may be the user's, and checks what it returns."""
    with user_code.running(block, "distribution"):
        distribution = block.distribution(argument)
    if not hasattr(distribution, needed):
        given = user_code.described(distribution)
        problem = f"must return a distribution, such as {example}, it returned {given}"
        raise user_code.wrong(block, "distribution", problem)
    return distribution


def _wrong_output(block, shape, needed):
    returned = f"returns a tensor of the shape {_shape_text(shape[1:])}"
    return user_code.wrong(block, "call", f"{returned}, it must return {needed}")


def _shape_text(sizes):
    return f"[{', '.join(['B', *('?' if size is None else str(size) for size in sizes)])}]"


_END_OF_TIME = 2**31 - 1


@registry.model
class VAE(Model):
    """The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114, Eq. 10).

    Minimizes E[−log p(x|z) + KL(q(z|x) ‖ p(z))], the negative ELBO, in nats. A
    variant overrides `objective`, or a narrower method.

    Args:
      num_latents: D, the number of latent dimensions.
      encoder: a block from images `[B, H, W, C]` to features `[B, F]`; None for
        `DenseEncoder()`.
      decoder: a `Decoder` block from latents `[B, D]` to `[B, H, W, C']`; None for
        `DenseDecoder()`.
      likelihood: p(x|z); None for `BernoulliLikelihood()`.
      prior: p(z); None for `StandardNormalPrior()`.
      posterior: q(z|x), a block from features to a distribution; None for
        `GaussianPosterior()`.
      kl_weight: the weight of the KL term, a float or a schedule of the step.
      free_bits: λ, in nats: the KL of each unit (see `Forward.kl`), averaged over the batch,
        counts as λ where it is below (Kingma et al. 2016, arXiv:1606.04934). As
        max(λ, k) = k + relu(λ − k), it is a term of its own with the weight of the KL.
      **kwargs: as for `Model`.
    """

    def __init__(
        self,
        num_latents: int = 10,
        encoder: keras.layers.Layer | None = None,
        decoder: Decoder | None = None,
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        kl_weight: validation.Weight = 1.0,
        free_bits: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name = type(self).__name__
        self.num_latents = validation.positive_integer(f"{name}.num_latents", num_latents)
        self.encoder = self._block("encoder", encoder, self.default_encoder)
        self.decoder = self._block("decoder", decoder, self.default_decoder)
        self.likelihood = self._block("likelihood", likelihood, BernoulliLikelihood)
        self.prior = self._block("prior", prior, StandardNormalPrior)
        self.posterior = self._block("posterior", posterior, self.default_posterior)
        self.posterior.use_num_latents(self.num_latents)
        self.kl_weight = validation.weight(f"{name}.kl_weight", kl_weight)
        self.free_bits = validation.non_negative_number(f"{name}.free_bits", free_bits)

    def default_encoder(self) -> keras.layers.Layer:
        """Makes the encoder used when none is given."""
        return DenseEncoder(dtype=self.dtype_policy)

    def default_decoder(self) -> Decoder:
        """Makes the decoder used when none is given."""
        return DenseDecoder(dtype=self.dtype_policy)

    def default_posterior(self) -> Posterior:
        """Makes the posterior used when none is given."""
        return GaussianPosterior(self.num_latents, dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        """Builds the blocks for images of `(None, H, W, C)`."""
        if len(input_shape) != 4:
            raise ValueError(
                f"{type(self).__name__} expects images of shape [B, H, W, C], got {tuple(input_shape)}; "
                "add a channel axis, as in images[..., None]"
            )
        image_shape: Any = input_shape[1:]
        height, width, channels = image_shape
        features_shape = build_chain([self.encoder], input_shape)
        if len(features_shape) != 2:
            raise _wrong_output(self.encoder, features_shape, "features [B, F]; end it with Flatten()")
        build_once(self.posterior, features_shape)
        latents_shape = (None, self.num_latents)
        self.prior.image_shape = (height, width, channels)
        build_once(self.prior, latents_shape)
        self.decoder.target_shape = (height, width, channels * self.likelihood.channels_per_channel)
        outputs_shape = build_chain([self.decoder], latents_shape)
        if outputs_shape[1:] != tuple(self.decoder.target_shape):
            needed = f"{_shape_text(self.decoder.target_shape)} for images of {_shape_text(image_shape)} and "
            needed += f"{type(self.likelihood).__name__}; it finds that shape in its `target_shape`"
            raise _wrong_output(self.decoder, outputs_shape, needed)
        build_once(self.likelihood, outputs_shape)

    def infer(self, images: tf.Tensor, training: bool = False) -> Any:
        """Returns the parameters of q(z|x), a nest of tensors `[B, …]`; see `Posterior`."""
        self._build_for(images)
        self._check_images(images)
        return self.posterior(self.in_parts(self.encoder, images, training=training))

    def encode(self, images: tf.Tensor, training: bool = False) -> Distribution:
        """Returns q(z|x), over latents `[B, D]`, for images `[B, H, W, C]` in [0, 1]."""
        return self.posterior_distribution(self.infer(images, training))

    def posterior_distribution(self, evidence: Any) -> Distribution:
        """Returns q(z|x), of what `infer` returned or of rows of it."""
        return _distribution_of(self.posterior, evidence, "draw", "Gaussian(mean, log_variance)")

    def prior_distribution(self) -> Distribution:
        """Returns p(z), for any number of rows."""
        return _distribution_of(self.prior, self, "draw", "Gaussian(mean, log_variance)")

    def decode(self, latents: tf.Tensor, training: bool = False) -> ImageDistribution:
        """Returns p(x|z), a distribution over `[B, H, W, C]`, for latents `[B, D]`."""
        self._check_built("decode")
        outputs = self.in_parts(self.decoder, latents, training=training)
        return _distribution_of(self.likelihood, outputs, "log_prob", "Bernoulli(outputs)")

    def sample(self, num_samples: int | tf.Tensor) -> tf.Tensor:
        """Returns the means of p(x|z) for `num_samples` draws of z ~ p(z), `[n, H, W, C]`."""
        self._check_built("sample")
        return self.decode(self.prior_distribution().draw(num_samples)[0]).mean

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Reconstructs: the mean of p(x|z) at the center of q(z|x); at a draw in training."""
        posterior = self.encode(images, training)
        latents = posterior.draw()[0] if training else posterior.center
        return self.decode(latents, training).mean

    def forward(self, images: tf.Tensor, training: bool = False) -> Forward:
        """Encodes, draws and decodes once; see `Model.forward`."""
        self._build_for(images)
        # First: it may run the encoder, and a block holds the losses of its last call.
        prior = self.prior_distribution()
        posterior = self.encode(images, training)
        latents, log_posterior = posterior.draw()
        reconstruction = self.decode(latents, training)
        losses = list(self.losses)
        return Forward(images, posterior, prior, latents, log_posterior, reconstruction, losses, training)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        weight = self.kl_weight_at(step)
        terms = {
            "reconstruction_loss": Term(-forward.reconstruction.log_prob(forward.images)),
            "kl": Term(tf.reduce_sum(forward.kl, axis=1), weight),
        }
        if self.free_bits:
            deficit = tf.nn.relu(self.free_bits - self.mean_kl_per_unit(forward))
            terms["free_bits"] = Term(tf.reduce_sum(deficit), weight)
        return terms

    def selection_score(self, results: dict[str, float]) -> float:
        # The final weight of a schedule: a warm-up must not make early checkpoints look good.
        return results["reconstruction_loss"] + float(self.kl_weight_at(_END_OF_TIME)) * results["kl"]

    def kl_weight_at(self, step: int | tf.Tensor) -> float | tf.Tensor:
        """Returns the weight of the KL term at a step, a float or scalar tensor."""
        return schedules.value_at(self.kl_weight, step)

    def mean_kl_per_unit(self, forward: Forward) -> tf.Tensor:
        """Returns the KL of each unit, `[U]`, the mean over the batch in scope; see `Forward.kl`."""
        return tf.reduce_mean(self.gather(forward.kl), axis=0)

    def prior_samples(self, forward: Forward) -> tf.Tensor:
        """Draws z ~ p(z) for each example in scope, `[B, D]`; replicas that share the batch draw the same."""
        num_rows = self.batch_size_in_scope(forward.num_examples)
        return forward.prior.draw(num_rows, shared=self.scope == "global")[0]

    def _check_images(self, images):
        height, width, channels = self.decoder.checked_target_shape()
        expected = (height, width, channels // self.likelihood.channels_per_channel)
        shape = tf.TensorShape(images.shape)
        if shape.rank != 4 or not shape[1:].is_compatible_with(expected):
            advice = "; add a channel axis, as in images[..., None]" if shape.rank == 3 else ""
            raise ConfigurationError(
                f"this {type(self).__name__} was built for images of the shape {_shape_text(expected)}, got "
                f"{_shape_text(shape[1:])}{advice}"
            )

    def _check_built(self, method):
        if not self.built:
            raise ConfigurationError(
                f"`{type(self).__name__}.{method}` needs a model that knows the size of images: train it, "
                "load it, or call build((None, height, width, channels)) first"
            )
