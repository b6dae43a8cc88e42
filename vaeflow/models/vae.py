"""The variational autoencoder, and the base class of its variants."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Distribution, ImageDistribution
from vaeflow.layers import (
    BernoulliLikelihood,
    Decoder,
    DenseDecoder,
    DenseEncoder,
    GaussianLikelihood,
    GaussianPosterior,
    Likelihood,
    Posterior,
    Prior,
    StandardNormalPrior,
)
from vaeflow.layers.base import Shape, build_chain, build_once
from vaeflow.layers.terms import Term, Update
from vaeflow.models.batches import Batch
from vaeflow.models.blocks import (
    check_codes,
    check_decoder,
    check_features,
    check_images,
    check_latents,
    checked_image_shape,
    distribution_of,
)
from vaeflow.models.forward import Forward
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.passes import Pass


@registry.model
class VAE(LatentModel):
    """The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114, Eq. 10).

    Minimizes E[−log p(x|z) + KL(q(z|x) ‖ p(z))], the negative ELBO, in nats. A
    variant overrides `objective`, or a narrower method.

    Args:
      num_latents: D, the number of latent dimensions; of each place where the latents are a map.
      encoder: a block from images `[B, H, W, C]` to what the posterior takes, features
        `[B, F]` or a map of them `[B, h, w, F]`; None for `DenseEncoder()`.
      decoder: a `Decoder` block from latents, `[B, D]` or `[B, h, w, D]`, to `[B, H, W, C']`;
        None for `DenseDecoder()`.
      likelihood: p(x|z); None for `BernoulliLikelihood()`.
      prior: p(z); None for `StandardNormalPrior()`.
      posterior: q(z|x), a block from features to a distribution; None for
        `GaussianPosterior()`.
      takes: `"images"`, or `"latents"` for the second stage of a two-stage VAE (Dai & Wipf 2019,
        arXiv:1903.05789, section 4), a model of what `vaeflow encode` wrote. Its default likelihood is a
        Gaussian of a learned variance, and `sample` draws from it.
      **kwargs: as for `LatentModel`.
    """

    # How many values come next to the channels of an image, and to the latents; see `encoder_inputs`.
    num_encoder_conditions = 0
    num_decoder_conditions = 0
    # How many axes the latents have that the objective is defined for, the batch counted; None for any.
    latents_rank: int | None = None

    def __init__(
        self,
        num_latents: int = 10,
        encoder: keras.layers.Layer | None = None,
        decoder: Decoder | None = None,
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        posterior: Posterior | None = None,
        takes: str = "images",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name = type(self).__name__
        self.takes = validation.one_of(f"{name}.takes", takes, ("images", "latents"))
        self.num_latents = validation.positive_integer(f"{name}.num_latents", num_latents)
        self.encoder = self._block("encoder", encoder, self.default_encoder)
        self.decoder = self._block("decoder", decoder, self.default_decoder)
        self.likelihood = self._block("likelihood", likelihood, self.default_likelihood)
        self.prior = self._block("prior", prior, self.default_prior)
        self.posterior = self._block("posterior", posterior, self.default_posterior)
        self.posterior.use_num_latents(self.num_latents)
        self.posterior.scope = self.scope

    def default_encoder(self) -> keras.layers.Layer:
        """Makes the encoder used when none is given."""
        return DenseEncoder(dtype=self.dtype_policy)

    def default_decoder(self) -> Decoder:
        """Makes the decoder used when none is given."""
        return DenseDecoder(dtype=self.dtype_policy)

    def default_likelihood(self) -> Likelihood:
        """Makes the likelihood used when none is given."""
        if self.takes == "latents":
            return GaussianLikelihood(learned="scalar", dtype=self.dtype_policy)
        return BernoulliLikelihood()

    def default_prior(self) -> Prior:
        """Makes the prior used when none is given."""
        return StandardNormalPrior()

    def default_posterior(self) -> Posterior:
        """Makes the posterior used when none is given."""
        return GaussianPosterior(self.num_latents, dtype=self.variable_dtype)

    def build(self, input_shape: Shape) -> None:
        """Builds the blocks for images of `(None, H, W, C)`."""
        image_shape = height, width, channels = checked_image_shape(self, input_shape)
        encoder_shape = (None, height, width, channels + self.num_encoder_conditions)
        features_shape = build_chain([self.encoder], encoder_shape)
        check_features(self.encoder, self.posterior, features_shape)
        latents_shape: Any = self.posterior.latents_shape(features_shape)
        check_latents((self, self.prior, self.decoder), self.posterior, latents_shape)
        build_once(self.posterior, features_shape)
        self.prior.image_shape = image_shape
        build_once(self.prior, latents_shape)
        self.decoder.target_shape = (height, width, self.likelihood.num_outputs(channels))
        decoder_shape = (*latents_shape[:-1], latents_shape[-1] + self.num_decoder_conditions)
        outputs_shape = build_chain([self.decoder], decoder_shape)
        check_decoder(self, outputs_shape, image_shape)
        build_once(self.likelihood, outputs_shape)

    def infer(self, batch: Batch, training: bool = False) -> Any:
        """Returns the parameters of q(z|x), a nest of tensors `[b, …]`; see `Posterior`."""
        self._check_images(batch["images"])
        return self.posterior(self.in_parts(self.encoder, self.encoder_inputs(batch), training=training))

    def draw_latents(self, one_pass: Pass, evidence: Any) -> tf.Tensor:
        return one_pass.draw(
            "z",
            self.prior_distribution,
            lambda: self.posterior_distribution(evidence, one_pass.training_step),
        )

    def likelihood_of(self, latents: tf.Tensor, one_pass: Pass) -> ImageDistribution:
        inputs = self.decoder_inputs(latents, one_pass)
        outputs = self.in_parts(self.decoder, inputs, training=one_pass.training)
        return distribution_of(self.likelihood, outputs, "log_prob", "Bernoulli(outputs)")

    def encoder_inputs(self, batch: Batch) -> tf.Tensor:
        """Returns what the encoder sees of a batch, `[b, H, W, C + num_encoder_conditions]`."""
        return batch["images"]

    def decoder_inputs(self, latents: tf.Tensor, one_pass: Pass) -> tf.Tensor:
        """Returns what the decoder sees of the latents, `[r, …, D + num_decoder_conditions]`."""
        return latents

    def posterior_distribution(self, evidence: Any, step: int | tf.Tensor | None = None) -> Distribution:
        """Returns q(z|x), of what `infer` returned or of rows of it.

        Args:
          evidence: of the rows.
          step: the global step, for what training draws from (`Posterior.distribution_in_training`);
            None outside of training.
        """
        return distribution_of(self.posterior, evidence, "draw", "Gaussian(mean, log_variance)", step)

    def prior_distribution(self) -> Distribution:
        """Returns p(z), for any number of rows."""
        return distribution_of(self.prior, self, "draw", "Gaussian(mean, log_variance)")

    def objective(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Term]:
        return super().objective(forward, step) | self.posterior.terms(forward.draw, step)

    def updates(self, forward: Forward, step: int | tf.Tensor) -> dict[str, Update]:
        return self.posterior.updates(forward.draw, step)

    def encode_codes(self, images: Any, labels: Any = None) -> tf.Tensor:
        """Returns the codes of images, int32 `[b, h, w, G]`: G numbers at each place.

        Args:
          images: `[b, H, W, C]` in [0, 1], or a batch.
          labels: integers `[b, F]`, for a model that reads them.

        Raises:
          ConfigurationError: the posterior has no codes.
        """
        check_codes(self)
        return self.encode(images, labels).codes

    def decode_codes(self, codes: Any, labels: Any = None, training: bool = False) -> ImageDistribution:
        """Returns p(x|z) of codes, as `encode_codes` returns them; see `decode`.

        Raises:
          ConfigurationError: the posterior has no codes, or not these.
        """
        check_codes(self, codes)
        self._check_built("decode_codes")
        latents = self.posterior.embed_codes(tf.cast(codes, tf.int32))  # pyright: ignore[reportAttributeAccessIssue]
        return self.decode(latents, labels, training)

    def prior_samples(self, forward: Forward) -> tf.Tensor:
        """Draws z ~ p(z) for each example in scope, `[B, D]`; replicas that share the batch draw the same."""
        num_rows = self.batch_size_in_scope(forward.num_examples)
        return forward.prior.draw(num_rows, shared=self.scope == "global")[0]

    def _check_images(self, images):
        height, width, outputs = self.decoder.checked_target_shape()
        check_images(self, images, (height, width, self.likelihood.num_channels(outputs)))
