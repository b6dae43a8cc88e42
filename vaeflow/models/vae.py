"""The variational autoencoder, and the base class of its variants."""

import keras
import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.devices import cores, replicas
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
from vaeflow.layers.constructor_config import ConstructorConfig
from vaeflow.models.terms import Forward, Term, check_groups, losses_by_group
from vaeflow.optimizers import ParameterGroup, clip


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
      free_bits: λ, in nats: each latent's KL, averaged over the batch, counts as λ where
        it is below (Kingma et al. 2016, arXiv:1606.04934, with groups of one latent). As
        max(λ, k) = k + relu(λ − k), it is a term of its own with the weight of the KL.
      scope: what terms see that couple examples: `"global"`, the batch of all replicas,
        so that their number does not matter; or `"replica"`, each replica's part alone.
    """

    # Whether a term that has a value per example depends on other examples too. A term
    # that is a scalar always does.
    couples_examples = False

    def __init__(
        self,
        num_latents=10,
        encoder=None,
        decoder=None,
        likelihood=None,
        prior=None,
        kl_weight=1.0,
        free_bits=0.0,
        scope="global",
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
        self.free_bits = validation.non_negative_number(f"{name}.free_bits", free_bits)
        self.scope = validation.one_of(f"{name}.scope", scope, ("global", "replica"))

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
        self._build_for(images)
        mean, log_variance = self.head(cores.in_parts(self.encoder, images, training=training))
        return Gaussian(mean, log_variance)

    def decode(self, latents, training=False):
        """Returns p(x|z), a distribution over `[B, H, W, C]`, for latents `[B, D]`."""
        return self.likelihood.distribution(cores.in_parts(self.decoder, latents, training=training))

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
        return Forward(images, posterior, latents, reconstruction, list(self.losses), training)

    def objective(self, forward, step):
        """Names the terms of the loss.

        Args:
          forward: a `Forward`.
          step: the global step, an int or scalar tensor, for schedules.

        Returns:
          A dict, name -> `Term`.
        """
        weight = self.kl_weight_at(step)
        terms = {
            "reconstruction_loss": Term(-forward.reconstruction.log_prob(forward.images)),
            "kl": Term(self.prior.kl(forward.posterior, forward.latents), weight),
        }
        if self.free_bits:
            deficit = tf.nn.relu(self.free_bits - self.mean_kl_per_dimension(forward))
            terms["free_bits"] = Term(tf.reduce_sum(deficit), weight)
        return terms

    def kl_weight_at(self, step):
        """Returns the weight of the KL term at a step, a float or scalar tensor."""
        return schedules.value_at(self.kl_weight, step)

    def mean_kl_per_dimension(self, forward):
        """Returns E[KL_d], `[D]`, the mean over the batch in scope."""
        kl = self.prior.kl_per_dimension(forward.posterior, forward.latents)
        return tf.reduce_mean(self.gather(kl), axis=0)

    def gather(self, value):
        """Returns `value`, `[b, …]`, of the whole batch in scope, in its order; differentiable."""
        return replicas.gather(value) if self.scope == "global" else value

    def batch_size_in_scope(self, num_examples):
        """Returns the size of the batch in scope, of which this replica has `num_examples`."""
        return num_examples * replicas.num_replicas() if self.scope == "global" else num_examples

    def positions(self, num_examples):
        """Returns where this replica's examples are in the batch in scope, int32 `[num_examples]`."""
        first = replicas.replica_index() * num_examples if self.scope == "global" else 0
        return first + tf.range(num_examples)

    def parameter_groups(self):
        """Names the variables that have an optimizer of their own: a dict, name -> `ParameterGroup`.

        A variant with an adversary overrides it; a `Term` says by its `group` whom it trains.
        """
        return {}

    def all_parameter_groups(self, optimizer, gradient_clip_norm=None):
        """Adds the model's own group: None -> all other trainable variables.

        Args:
          optimizer: the Keras optimizer of the own group.
          gradient_clip_norm: of the own group, the largest global norm, or None.
        """
        groups = self.parameter_groups()
        apart = {id(variable) for group in groups.values() for variable in group.variables}
        own = [variable for variable in self.trainable_variables if id(variable) not in apart]
        return {None: ParameterGroup(own, optimizer, gradient_clip_norm), **groups}

    def train_step(self, data):
        """One step of `fit`, on one device; distributed runs use `vaeflow.Trainer`."""
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self._build_for(images)
        if not self.optimizer.built:
            with tf.init_scope():
                # For the other groups' variables too, as Keras does when it loads a saved model.
                self.optimizer.build(self.trainable_variables)
        groups = self.all_parameter_groups(self.optimizer)
        with tf.GradientTape(persistent=len(groups) > 1) as tape:
            losses, results = self._mean_losses(images, training=True, groups=groups)
        # All before the first update: it moves what the other gradients are taken at.
        gradients = {name: tape.gradient(losses[name], groups[name].variables) for name in groups}
        for name, group in groups.items():
            group.optimizer.apply(clip(gradients[name], group.gradient_clip_norm), group.variables)
        return self._report(results, images)

    def test_step(self, data):
        """One step of `evaluate`, on one device."""
        images, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self._report(self._mean_losses(images)[1], images)

    @property
    def metrics(self):
        """The running means that `fit` and `evaluate` report."""
        return list(self._trackers().values())

    def _build_for(self, images):
        if not self.built:
            with tf.init_scope():
                self.build((None, *images.shape[1:]))

    def _mean_losses(self, images, training=False, groups=None):
        step = self.optimizer.iterations if self.optimizer is not None else 0
        forward = self.forward(tf.cast(images, self.variable_dtype), training)
        terms = self.objective(forward, step)
        if groups is not None:
            check_groups(terms, groups)
        means = {name: tf.reduce_mean(term.value) for name, term in terms.items()}
        losses = losses_by_group(terms, means)
        for block_loss in forward.block_losses:
            losses[None] += tf.cast(block_loss, losses[None].dtype)
        return losses, {"loss": losses[None], **means}

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
