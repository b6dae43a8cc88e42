"""The variational autoencoder, and the base class of its variants."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.distributions import Gaussian
from vaeflow.layers import (
    BernoulliLikelihood,
    DenseDecoder,
    DenseEncoder,
    GaussianHead,
    Sampling,
    StandardNormalPrior,
)
from vaeflow.layers.base import build_chain, build_once
from vaeflow.serialization import ConstructorConfig


class Term(NamedTuple):
    """One term of an objective.

    Attributes:
      value: nats, unweighted: `[B]`, per example; or a scalar that is a function of
        the global batch and the same on every replica.
      weight: a float or scalar tensor; the loss is the sum of weight · mean(value).
    """

    value: tf.Tensor
    weight: Any = 1.0

    def weight_as(self, dtype):
        """Returns the weight as a scalar tensor of `dtype`."""
        if isinstance(self.weight, (int, float)):
            return tf.constant(self.weight, dtype)  # `tf.cast` would take it through float32.
        return tf.cast(self.weight, dtype)


class Forward(NamedTuple):
    """What one pass through a model gives its objective.

    Attributes:
      images: x, `[B, H, W, C]`, floats in [0, 1].
      posterior: q(z|x), a `Gaussian` with `[B, D]`.
      latents: z ~ q(z|x), `[B, D]`.
      reconstruction: p(x|z), a distribution over `[B, H, W, C]`.
      block_losses: scalars that nested blocks tracked with `add_loss`.
    """

    images: tf.Tensor
    posterior: Gaussian
    latents: tf.Tensor
    reconstruction: Any
    block_losses: list


@registry.model
class VAE(ConstructorConfig, keras.Model):
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
    """

    def __init__(
        self,
        num_latents=10,
        encoder=None,
        decoder=None,
        likelihood=None,
        prior=None,
        kl_weight=1.0,
        **kwargs,
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
        if not callable(kl_weight):
            kl_weight = validation.non_negative_number(f"{name}.kl_weight", kl_weight)
        self.kl_weight = kl_weight

    def default_encoder(self):
        """Makes the encoder used when none is given."""
        return DenseEncoder(dtype=self.dtype_policy)

    def default_decoder(self):
        """Makes the decoder used when none is given."""
        return DenseDecoder(dtype=self.dtype_policy)

    def build(self, input_shape):
        """Builds the blocks for images of `(None, H, W, C)`."""
        if len(input_shape) != 4:
            raise ValueError(
                f"{type(self).__name__} expects images of shape [B, H, W, C], got {tuple(input_shape)}; "
                "add a channel axis, as in images[..., None]"
            )
        height, width, channels = input_shape[1:]
        build_once(self.head, build_chain([self.encoder], input_shape))
        latents_shape = (None, self.num_latents)
        build_once(self.sampling, latents_shape)
        build_once(self.prior, latents_shape)
        self.decoder.target_shape = (height, width, channels * self.likelihood.channels_per_channel)
        outputs_shape = build_chain([self.decoder], latents_shape)
        build_once(self.likelihood, outputs_shape)

    def encode(self, images, training=False):
        """Returns q(z|x), a `Gaussian` with `[B, D]`, for images `[B, H, W, C]` in [0, 1]."""
        if not self.built:
            with tf.init_scope():
                self.build((None, *images.shape[1:]))
        mean, log_variance = self.head(self.encoder(images, training=training))
        return Gaussian(mean, log_variance)

    def decode(self, latents, training=False):
        """Returns p(x|z), a distribution over `[B, H, W, C]`, for latents `[B, D]`."""
        return self.likelihood.distribution(self.decoder(latents, training=training))

    def sample(self, num_samples):
        """Returns the means of p(x|z) for `num_samples` draws of z ~ p(z), `[n, H, W, C]`."""
        noise = random.normal((num_samples, self.num_latents), self.variable_dtype)
        return self.decode(self.prior.sample(noise)).mean

    def call(self, images, training=False):
        """Reconstructs: the mean of p(x|z) at the posterior mean; at a sample in training."""
        posterior = self.encode(images, training)
        latents = posterior.mean
        if training:
            latents = self.sampling(posterior.mean, posterior.log_variance)
        return self.decode(latents, training).mean

    def forward(self, images, training=False):
        """Runs encode, sample and decode once, and collects what blocks `add_loss`.

        The losses are read here, before any collective: replicas share the list, and
        a later read could find another replica's.

        Args:
          images: `[B, H, W, C]`, floats in [0, 1].
          training: whether blocks behave as in training.

        Returns:
          A `Forward`.
        """
        posterior = self.encode(images, training)
        latents = self.sampling(posterior.mean, posterior.log_variance)
        reconstruction = self.decode(latents, training)
        return Forward(images, posterior, latents, reconstruction, list(self.losses))

    def objective(self, forward, step):
        """Names the terms of the loss.

        Args:
          forward: a `Forward`.
          step: the global step, an int or scalar tensor, for schedules.

        Returns:
          A dict, name -> `Term`.
        """
        return {
            "reconstruction_loss": Term(-forward.reconstruction.log_prob(forward.images)),
            "kl": Term(self.prior.kl(forward.posterior, forward.latents), self.kl_weight_at(step)),
        }

    def kl_weight_at(self, step):
        """Returns the weight of the KL term at a step, a float or scalar tensor."""
        return schedules.value_at(self.kl_weight, step)

    def train_step(self, data):
        """One step of `fit`, on one device; distributed runs use `vaeflow.Trainer`."""
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss, results = self._mean_loss(images, training=True)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._report(results, images)

    def test_step(self, data):
        """One step of `evaluate`, on one device."""
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self._report(self._mean_loss(images, training=False)[1], images)

    @property
    def metrics(self):
        """The running means that `fit` and `evaluate` report."""
        return list(self._trackers().values())

    def _mean_loss(self, images, training):
        step = self.optimizer.iterations if self.optimizer is not None else 0
        forward = self.forward(tf.cast(images, self.variable_dtype), training)
        terms = self.objective(forward, step)
        means = {name: tf.reduce_mean(term.value) for name, term in terms.items()}
        loss = tf.add_n([term.weight_as(means[name].dtype) * means[name] for name, term in terms.items()])
        for block_loss in forward.block_losses:
            loss += tf.cast(block_loss, loss.dtype)
        return loss, {"loss": loss, **means}

    def _trackers(self):
        # Around Keras' attribute tracking: means of a run are not part of the model.
        if "_mean_trackers" not in self.__dict__:
            object.__setattr__(self, "_mean_trackers", {})
        return self._mean_trackers

    def _report(self, results, images):
        trackers = self._trackers()
        for name, value in results.items():
            if name not in trackers:
                with tf.init_scope():
                    trackers[name] = keras.metrics.Mean(name=name)
            trackers[name].update_state(value, sample_weight=tf.shape(images)[0])
        return {name: trackers[name].result() for name in results}

    def _block(self, role, block, default):
        if block is None:
            return default()
        if not isinstance(block, keras.layers.Layer):
            raise ValueError(
                f"`{type(self).__name__}.{role}` must be a Keras layer, got {block!r}; in a gin file write "
                f"{type(self).__name__}.{role} = @SomeBlock() with parentheses"
            )
        return block
