"""The variational autoencoder, and the base class of its Gaussian variants."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers import (
    BernoulliLikelihood,
    Decoder,
    DenseDecoder,
    DenseEncoder,
    GaussianHead,
    Likelihood,
    Prior,
    Sampling,
    StandardNormalPrior,
)
from vaeflow.layers.base import Shape, build_chain, build_once
from vaeflow.layers.priors import apply_prior
from vaeflow.models.base import Model
from vaeflow.models.terms import Forward, Term


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
      kl_weight: the weight of the KL term, a float or a schedule of the step.
      free_bits: λ, in nats: each latent's KL, averaged over the batch, counts as λ where
        it is below (Kingma et al. 2016, arXiv:1606.04934, with groups of one latent). As
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
        # In float32 under mixed precision: the KL is sensitive to the log variance.
        self.head = GaussianHead(num_latents, dtype=self.variable_dtype)
        self.sampling = Sampling(dtype=self.variable_dtype)
        self.kl_weight = validation.weight(f"{name}.kl_weight", kl_weight)
        self.free_bits = validation.non_negative_number(f"{name}.free_bits", free_bits)

    def default_encoder(self) -> keras.layers.Layer:
        """Makes the encoder used when none is given."""
        return DenseEncoder(dtype=self.dtype_policy)

    def default_decoder(self) -> Decoder:
        """Makes the decoder used when none is given."""
        return DenseDecoder(dtype=self.dtype_policy)

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
        build_once(self.head, features_shape)
        latents_shape = (None, self.num_latents)
        build_once(self.sampling, latents_shape)
        build_once(self.prior, latents_shape)
        self.decoder.target_shape = (height, width, channels * self.likelihood.channels_per_channel)
        outputs_shape = build_chain([self.decoder], latents_shape)
        if outputs_shape[1:] != tuple(self.decoder.target_shape):
            needed = f"{_shape_text(self.decoder.target_shape)} for images of {_shape_text(image_shape)} and "
            needed += f"{type(self.likelihood).__name__}; it finds that shape in its `target_shape`"
            raise _wrong_output(self.decoder, outputs_shape, needed)
        build_once(self.likelihood, outputs_shape)

    def encode(self, images: tf.Tensor, training: bool = False) -> Gaussian:
        """Returns q(z|x), a `Gaussian` with `[B, D]`, for images `[B, H, W, C]` in [0, 1]."""
        self._build_for(images)
        self._check_images(images)
        mean, log_variance = self.head(self.in_parts(self.encoder, images, training=training))
        return Gaussian(mean, log_variance)

    def decode(self, latents: tf.Tensor, training: bool = False) -> Any:
        """Returns p(x|z), a distribution over `[B, H, W, C]`, for latents `[B, D]`."""
        self._check_built("decode")
        outputs = self.in_parts(self.decoder, latents, training=training)
        with user_code.running(self.likelihood, "distribution"):
            distribution = self.likelihood.distribution(outputs)
        if not hasattr(distribution, "log_prob"):
            given = user_code.described(distribution)
            problem = f"must return a distribution, such as Bernoulli(outputs), it returned {given}"
            raise user_code.wrong(self.likelihood, "distribution", problem)
        return distribution

    def sample(self, num_samples: int | tf.Tensor) -> tf.Tensor:
        """Returns the means of p(x|z) for `num_samples` draws of z ~ p(z), `[n, H, W, C]`."""
        self._check_built("sample")
        noise = random.normal((num_samples, self.num_latents), self.variable_dtype)
        return self.decode(apply_prior(self.prior, "sample", noise)).mean

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Reconstructs: the mean of p(x|z) at the posterior mean; at a sample in training."""
        posterior = self.encode(images, training)
        latents = posterior.mean
        if training:
            latents = self.sampling(posterior.mean, posterior.log_variance)
        return self.decode(latents, training).mean

    def forward(self, images: tf.Tensor, training: bool = False) -> Forward:
        """Encodes, draws and decodes once; see `Model.forward`.

        Returns:
          A `Forward`.
        """
        posterior = self.encode(images, training)
        latents = self.sampling(posterior.mean, posterior.log_variance)
        reconstruction = self.decode(latents, training)
        return Forward(images, posterior, latents, reconstruction, list(self.losses), training)

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        weight = self.kl_weight_at(step)
        terms = {
            "reconstruction_loss": Term(-forward.reconstruction.log_prob(forward.images)),
            "kl": Term(apply_prior(self.prior, "kl", forward.posterior, forward.latents), weight),
        }
        if self.free_bits:
            deficit = tf.nn.relu(self.free_bits - self.mean_kl_per_dimension(forward))
            terms["free_bits"] = Term(tf.reduce_sum(deficit), weight)
        return terms

    def selection_score(self, results: dict[str, float]) -> float:
        # The final weight of a schedule: a warm-up must not make early checkpoints look good.
        return results["reconstruction_loss"] + float(self.kl_weight_at(_END_OF_TIME)) * results["kl"]

    def kl_weight_at(self, step: int | tf.Tensor) -> float | tf.Tensor:
        """Returns the weight of the KL term at a step, a float or scalar tensor."""
        return schedules.value_at(self.kl_weight, step)

    def mean_kl_per_dimension(self, forward: Forward) -> tf.Tensor:
        """Returns E[KL_d], `[D]`, the mean over the batch in scope."""
        kl = apply_prior(self.prior, "kl_per_dimension", forward.posterior, forward.latents)
        return tf.reduce_mean(self.gather(kl), axis=0)

    def prior_samples(self, forward: Forward) -> tf.Tensor:
        """Draws a latent from p(z) for each example in scope; replicas that share the batch draw the same.

        Returns:
          `[B, D]`, of the dtype of the latents.
        """
        shape = (self.batch_size_in_scope(forward.num_examples), self.num_latents)
        return apply_prior(
            self.prior, "sample", random.normal(shape, forward.latents.dtype, self.scope == "global")
        )

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
