"""The ladder VAE: a vector of latents on top of a map of latents."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Distribution, Gaussian, ImageDistribution
from vaeflow.layers import (
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    ConvMapDecoder,
    ConvMapEncoder,
    Decoder,
    GaussianMap,
    GaussianPosterior,
    Likelihood,
    Posterior,
    Prior,
    StandardNormalPrior,
)
from vaeflow.layers.base import CHANNELS_LAST, Shape, build_chain, build_once
from vaeflow.layers.terms import Term, Update
from vaeflow.models.batches import Batch
from vaeflow.models.blocks import (
    check_decoder,
    check_features,
    check_images,
    check_latents,
    checked_image_shape,
    distribution_of,
    shape_text,
    wrong_output,
)
from vaeflow.models.forward import Forward
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.passes import Pass


@registry.model
class LadderVAE(LatentModel):
    """The ladder VAE with two groups of latents (Sønderby et al. 2016, arXiv:1602.02282).

    p(x, z) = p(x|top, bottom) p(bottom|top) p(top), where `top` is a vector `[D]` and `bottom` a map
    `[h, w, c]`. A deterministic pass upwards computes features of the image and from these Gaussians of
    both groups, μ̂ and σ̂². The pass downwards is shared by p and q: its state is a function of the top
    latents, and gives p(bottom|top) = N(μ_p, σ_p²). q(top|x) is the Gaussian of the pass upwards alone,
    and q(bottom|top, x) its product with p(bottom|top) (Eq. 18 and 19):

        1 / σ_q² = 1 / σ̂² + 1 / σ_p²        μ_q = σ_q² (μ̂ / σ̂² + μ_p / σ_p²)

    The decoder sees the state too, with the bottom latents added, as in Child 2021 (arXiv:2011.10650).
    The paper's decoder sees the bottom latents alone; its variances come from a softplus, where these are
    exponentials, and it has batch normalization, which would couple the examples. Like the paper, let
    `kl_weight` grow at first, or the top latents may stay unused.

    Minimizes the negative ELBO, in nats.

    Args:
      num_latents: D, the number of top latents.
      bottom_channels: c, the channels of the map of bottom latents.
      encoder: a block from images `[B, H, W, C]` to a map of features `[B, h, w, F]`, which gives the
        bottom latents their height and width; None for `ConvMapEncoder()`.
      top_encoder: a block from that map to features `[B, F']`; None for a `ConvEncoder`.
      posterior: q(top|x), a block from these features to a distribution; None for
        `GaussianPosterior()`.
      prior: p(top); None for `StandardNormalPrior()`.
      top_decoder: a `Decoder` block from top latents `[B, D]` to the state `[B, h, w, F]`; None for a
        `ConvDecoder`.
      decoder: a `Decoder` block from the state `[B, h, w, F]` to `[B, H, W, C']`; None for
        `ConvMapDecoder()`.
      likelihood: p(x|z); None for `BernoulliLikelihood()`.
      **kwargs: as for `LatentModel`.
    """

    def __init__(
        self,
        num_latents: int = 10,
        bottom_channels: int = 4,
        encoder: keras.layers.Layer | None = None,
        top_encoder: keras.layers.Layer | None = None,
        posterior: Posterior | None = None,
        prior: Prior | None = None,
        top_decoder: Decoder | None = None,
        decoder: Decoder | None = None,
        likelihood: Likelihood | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name, policy = type(self).__name__, self.dtype_policy
        self.num_latents = validation.positive_integer(f"{name}.num_latents", num_latents)
        self.bottom_channels = validation.positive_integer(f"{name}.bottom_channels", bottom_channels)
        self.encoder = self._block("encoder", encoder, lambda: ConvMapEncoder(dtype=policy))
        # Two halvings of a map, where the defaults for images have four.
        self.top_encoder = self._block(
            "top_encoder", top_encoder, lambda: ConvEncoder((64, 64), units=(256,), dtype=policy)
        )
        self.top_decoder = self._block(
            "top_decoder", top_decoder, lambda: ConvDecoder((64, 64), units=(256,), dtype=policy)
        )
        self.decoder = self._block("decoder", decoder, lambda: ConvMapDecoder(dtype=policy))
        self.likelihood = self._block("likelihood", likelihood, BernoulliLikelihood)
        self.prior = self._block("prior", prior, StandardNormalPrior)
        self.posterior = self._block(
            "posterior", posterior, lambda: GaussianPosterior(self.num_latents, dtype=self.variable_dtype)
        )
        self.posterior.use_num_latents(self.num_latents)
        self.bottom_evidence = GaussianMap(bottom_channels, dtype=self.variable_dtype)
        self.bottom_prior = GaussianMap(bottom_channels, activation="relu", dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        """Builds the blocks for images of `(None, H, W, C)`."""
        image_shape = height, width, channels = checked_image_shape(self, input_shape)
        map_shape = build_chain([self.encoder], (None, *image_shape))
        if len(map_shape) != 4:
            raise wrong_output(self.encoder, map_shape, "a map of features [B, h, w, F], without Flatten()")
        features_shape = build_chain([self.top_encoder], map_shape)
        check_features(self.top_encoder, self.posterior, features_shape)
        build_once(self.posterior, features_shape)
        build_once(self.bottom_evidence, map_shape)
        self.prior.image_shape = image_shape
        self._build_downwards(self.posterior.latents_shape(features_shape), map_shape)
        self.decoder.target_shape = (height, width, self.likelihood.num_outputs(channels))
        outputs_shape = build_chain([self.decoder], map_shape)
        check_decoder(self, outputs_shape, image_shape)
        build_once(self.likelihood, outputs_shape)

    def _build_downwards(self, top_shape, map_shape):
        check_latents((self.prior, self.top_decoder), self.posterior, top_shape)
        build_once(self.prior, top_shape)
        self.top_decoder.target_shape = map_shape[1:]
        state_shape = build_chain([self.top_decoder], top_shape)
        if state_shape != map_shape:
            needed = f"{shape_text(map_shape[1:])}, as the encoder; it finds that shape in its `target_shape`"
            raise wrong_output(self.top_decoder, state_shape, needed)
        build_once(self.bottom_prior, map_shape)
        channels, policy = map_shape[3], self.dtype_policy
        self.add_bottom = keras.layers.Conv2D(channels, 1, dtype=policy, **CHANNELS_LAST)
        build_once(self.add_bottom, (*map_shape[:3], self.bottom_channels))

    def infer(self, batch: Batch, training: bool = False) -> Any:
        """Passes upwards: evidence of q(top|x), and the mean and log variance of the bottom Gaussian."""
        height, width, outputs = self.decoder.checked_target_shape()
        images = batch["images"]
        check_images(self, images, (height, width, self.likelihood.num_channels(outputs)))
        features = self.in_parts(self.encoder, images, training=training)
        top = self.posterior(self.in_parts(self.top_encoder, features, training=training))
        return {"top": top, "bottom": self.bottom_evidence(features)}

    def draw_latents(self, one_pass: Pass, evidence: Any) -> tf.Tensor:
        """Passes downwards; returns the state with the bottom latents added, `[r, h, w, F]`."""
        top = one_pass.draw(
            "top",
            self.prior_distribution,
            lambda: self.posterior_distribution(evidence, one_pass.training_step),
        )
        state = self.in_parts(self.top_decoder, top, training=one_pass.training)
        prior = Gaussian(*self.bottom_prior(state))
        bottom = one_pass.draw(
            "bottom", lambda: prior, lambda: Gaussian(*evidence["bottom"]).product(prior), conditional=True
        )
        return state + self.add_bottom(bottom)

    def likelihood_of(self, latents: tf.Tensor, one_pass: Pass) -> ImageDistribution:
        outputs = self.in_parts(self.decoder, latents, training=one_pass.training)
        return distribution_of(self.likelihood, outputs, "log_prob", "Bernoulli(outputs)")

    def posterior_distribution(self, evidence: Any, step: int | tf.Tensor | None = None) -> Distribution:
        """Returns q(top|x), of what `infer` returned or of rows of it; see `VAE.posterior_distribution`."""
        return distribution_of(self.posterior, evidence["top"], "draw", "Gaussian(mean, log_variance)", step)

    def prior_distribution(self) -> Distribution:
        """Returns p(top), for any number of rows."""
        return distribution_of(self.prior, self, "draw", "Gaussian(mean, log_variance)")

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        return super().objective(forward, step) | self.posterior.terms(forward.draws["top"], step)

    def updates(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Update]:
        return self.posterior.updates(forward.draws["top"], step)
