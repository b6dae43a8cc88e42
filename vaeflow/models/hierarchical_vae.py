"""The deep hierarchical VAE: groups of latents on maps of growing size."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import Gaussian, ImageDistribution
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers import BernoulliLikelihood, BottleneckEncoder, Likelihood, TopDownDecoder
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.terms import Term
from vaeflow.layers.top_down import TopDownGroup
from vaeflow.models.batches import Batch
from vaeflow.models.blocks import check_decoder, check_images, checked_image_shape, distribution_of
from vaeflow.models.forward import Forward
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.passes import Pass

# What is added to each KL before they are balanced, in nats, as in the authors' program.
_LEAST_KL = 0.01


@registry.model
class HierarchicalVAE(LatentModel):
    """The deep hierarchical VAE (Child 2021, arXiv:2011.10650; Vahdat & Kautz 2020, arXiv:2007.03898).

    p(x, z) = p(x|z) Π_l p(z_l|z_1 … z_{l−1}) and q(z|x) = Π_l q(z_l|z_1 … z_{l−1}, x) (Child 2021,
    section 2), where each of the groups z_1 … z_L is a map of Gaussians `[h, w, D]`. A pass upwards
    computes features of the image on maps of several sizes; the pass downwards, from the smallest map to
    the image, is shared by p, q and the decoder. A group's q sees the state of the pass downwards next to
    the features of its map, its p the state alone.

    Other than in the authors' program, the nets give the logarithm of σ² in place of σ, initial weights are
    Glorot's, and no factor and offset of each channel come before the last convolution, which has its own.

    Minimizes the negative ELBO, in nats. Very deep hierarchies need `train.skip_gradient_norm` and
    `train.ema_decay`, as in the paper.

    Args:
      num_latents: D, the channels of each map of latents.
      encoder: a block from images `[B, H, W, C]` to a list of maps `[B, h, w, F]`, the largest first, of the
        size of the images; None for `BottleneckEncoder()`.
      decoder: a `TopDownDecoder`, whose `num_groups` says how many groups there are on each map; None for
        one with the defaults.
      likelihood: p(x|z); None for `BernoulliLikelihood()`.
      group_free_bits: λ, in nats: the KL of each group, averaged over the batch, counts as λ where it is
        below (Kingma et al. 2016, arXiv:1606.04934, Eq. 15); `free_bits` does that for each latent.
      kl_balancing: while the schedule of `kl_weight` is below its end, multiplies the KL of group l by
        γ_l ∝ KL_l / s_l, averaged over the batch, for s_l latents; Σ γ_l = L, and γ_l has no gradient.
        Vahdat & Kautz 2020, appendix A, which has a product for the quotient, an error by the authors'
        own word; it is as in Vahdat et al. 2018 (arXiv:1802.04920, appendix H).
      **kwargs: as for `LatentModel`.

    Raises:
      ConfigurationError: `kl_balancing` without a schedule of `kl_weight`, or a decoder of another class.
    """

    def __init__(
        self,
        num_latents: int = 16,
        encoder: keras.layers.Layer | None = None,
        decoder: TopDownDecoder | None = None,
        likelihood: Likelihood | None = None,
        group_free_bits: float = 0.0,
        kl_balancing: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name, policy = type(self).__name__, self.dtype_policy
        self.num_latents = validation.positive_integer(f"{name}.num_latents", num_latents)
        self.encoder = self._block("encoder", encoder, lambda: BottleneckEncoder(dtype=policy))
        self.decoder = self._block("decoder", decoder, lambda: TopDownDecoder(dtype=policy))
        self.likelihood = self._block("likelihood", likelihood, BernoulliLikelihood)
        self.group_free_bits = validation.non_negative_number(f"{name}.group_free_bits", group_free_bits)
        self.kl_balancing = validation.boolean(f"{name}.kl_balancing", kl_balancing)
        if kl_balancing and isinstance(self.kl_weight, float):
            raise ConfigurationError(
                f"`{name}.kl_balancing` works while a schedule lets the weight of the KL grow, and "
                f"`{name}.kl_weight` is {self.kl_weight}; set it to @LinearSchedule(), or leave "
                "the balancing out"
            )
        if not isinstance(self.decoder, TopDownDecoder):
            raise ConfigurationError(
                f"`{name}.decoder` must be a TopDownDecoder, which holds the groups of latents, got "
                f"{type(self.decoder).__name__}; set it to @TopDownDecoder()"
            )

    def build(self, input_shape: Shape) -> None:
        """Builds the blocks for images of `(None, H, W, C)`."""
        image_shape = height, width, channels = checked_image_shape(self, input_shape)
        build_once(self.encoder, (None, *image_shape))
        maps = self._shapes_of_maps((None, *image_shape))
        self.decoder.num_latents = self.num_latents
        self.decoder.target_shape = (height, width, self.likelihood.num_outputs(channels))
        build_once(self.decoder, maps)
        outputs_shape = self.decoder.compute_output_shape(maps[0])
        check_decoder(self, outputs_shape, image_shape)
        build_once(self.likelihood, outputs_shape)

    def _shapes_of_maps(self, image_shape) -> Any:
        """Returns the shapes of what the encoder gives, with None for the batch."""
        with user_code.running(self.encoder, "call"):
            images = keras.KerasTensor(image_shape, dtype=self.encoder.compute_dtype)
            maps: Any = self.encoder.compute_output_spec(images)
        if not isinstance(maps, (list, tuple)) or any(len(each.shape) != 4 for each in maps):
            shapes = [tuple(each.shape) for each in tf.nest.flatten(maps)]
            problem = f"must return a list of maps [B, h, w, F], the largest first; it returned {shapes}"
            raise user_code.wrong(self.encoder, "call", problem)
        return [tuple(each.shape) for each in maps]

    def infer(self, batch: Batch, training: bool = False) -> list[tf.Tensor]:
        """Passes upwards: features on each map, `[b, h, w, F]`, the largest map first."""
        height, width, outputs = self.decoder.checked_target_shape()
        images = batch["images"]
        check_images(self, images, (height, width, self.likelihood.num_channels(outputs)))
        return list(self.in_parts(self.encoder, images, training=training))

    def draw_latents(self, one_pass: Pass, evidence: Any) -> tf.Tensor:
        """Passes downwards; returns the state on the map of the images, `[r, H, W, F]`."""
        state: Any = None
        for stage, groups in enumerate(self.decoder.stages()):
            state = self.decoder.enter(stage, state)
            features = None if evidence is None else evidence[-1 - stage]
            for name, group in groups.items():
                state = self._with_group(one_pass, name, group, state, features)
        return state

    def _with_group(
        self, one_pass: Pass, name: str, group: TopDownGroup, state: Any, features: Any
    ) -> tf.Tensor:
        """Returns the state after a group, of that before it; before the first it has a single row."""
        training, is_first = one_pass.training, not one_pass.draws
        outputs = (group.prior if is_first else self._cut(group.prior))(state, training=training)
        prior, change = group.prior_of(outputs)
        if is_first:
            prior = Gaussian(prior.mean[0], prior.log_variance[0])

        def posterior():
            both = tf.concat([state + tf.zeros_like(features), features], axis=-1)
            return group.posterior_of(self._cut(group.posterior)(both, training=training))

        latents = one_pass.draw(name, lambda: prior, posterior, conditional=not is_first)
        return self._cut(group.residual)(state + change + group.projection(latents), training=training)

    def _cut(self, block):
        return lambda value, training: self.in_parts(block, value, training=training)

    def likelihood_of(self, latents: tf.Tensor, one_pass: Pass) -> ImageDistribution:
        outputs = self.in_parts(self.decoder, latents, training=one_pass.training)
        return distribution_of(self.likelihood, outputs, "log_prob", "Bernoulli(outputs)")

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        terms, weight = super().objective(forward, step), self.kl_weight_at(step)
        if not (self.group_free_bits or self.kl_balancing):
            return terms
        kl = self._mean_kl_of_groups(forward)
        if self.group_free_bits:
            terms["group_free_bits"] = Term(tf.reduce_sum(tf.nn.relu(self.group_free_bits - kl)), weight)
        if self.kl_balancing:
            excess = tf.reduce_sum((self._balance(forward, kl) - 1.0) * kl)
            is_growing = weight < self.kl_weight_at(schedules.END_OF_TIME)
            terms["kl_balancing"] = Term(excess, tf.where(is_growing, weight, 0.0))
        return terms

    def _mean_kl_of_groups(self, forward):
        """Returns the KL of each group, `[L]`, the mean over the batch in scope."""
        each = [tf.reduce_sum(forward.kl_of(group), axis=1) for group in forward.draws]
        return tf.reduce_mean(self.gather(tf.stack(each, axis=1)), axis=0)

    def _balance(self, forward, kl):
        """Returns γ_l of each group, `[L]`."""
        sizes = [draw.value.shape[1:].num_elements() for draw in forward.draws.values()]
        share = tf.stop_gradient(tf.abs(kl) + _LEAST_KL) / tf.constant(sizes, kl.dtype)
        return len(sizes) * share / tf.reduce_sum(share)
