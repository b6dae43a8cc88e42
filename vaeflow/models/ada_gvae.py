"""The adaptive group VAE, which learns from pairs of images that share most of their factors."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules
from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.layers import GaussianPosterior
from vaeflow.layers.base import Shape
from vaeflow.models.batches import Batch
from vaeflow.models.forward import Forward
from vaeflow.models.vae import VAE


@registry.model
class AdaGVAE(VAE):
    """The adaptive group VAE (Ada-GVAE; Locatello et al. 2020, arXiv:2002.02886, section 4).

    Minimizes E[½ Σ_i −log p(x_i|z_i) + ½ β Σ_i KL(q̃(z_i|x_1, x_2) ‖ p(z))] over pairs x_1, x_2 that share
    most of their factors, where nobody says which. In q̃ a dimension d counts as shared if
    KL(q(z_d|x_1) ‖ q(z_d|x_2)) is below the mean of the largest and the smallest of these; its Gaussian
    is then the same for both images, with the average of the two means and of the two variances. No
    gradient passes through the choice. Terms are means over the two images, as in the authors' code (the
    paper adds them), so that they compare with those of single images.

    Only training steps see pairs, with the second image in further channels: a dataset of pairs such as
    `SpritePairs` gives them. An image alone is paired with itself there, as a VAE has it. Everywhere else
    images are single ones, and q is that of the encoder.

    Args:
      kl_weight: β, a float or a schedule.
      **kwargs: as for `VAE`. The posterior must be a `GaussianPosterior`.

    Raises:
      ConfigurationError: the posterior is another.
    """

    trains_on_pairs = True

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(self.posterior, GaussianPosterior):
            raise ConfigurationError(
                f"AdaGVAE averages Gaussians, and `AdaGVAE.posterior` is a {type(self.posterior).__name__}; "
                "leave it out, or set it to @GaussianPosterior()"
            )

    def build(self, input_shape: Shape) -> None:
        """Builds the blocks for single images of `(None, H, W, C)`."""
        super().build(input_shape)
        self.num_channels: Any = input_shape[-1]

    def forward(
        self,
        batch: Any,
        step: int | tf.Tensor = schedules.END_OF_TIME,
        training: bool = False,
        num_samples: int | None = None,
    ) -> Forward:
        """As for `LatentModel`; in training each example has a row for each image of its pair."""
        if not training:
            return super().forward(batch, step, training, num_samples)
        rows = self._pairs(self._checked(batch))
        evidence = shared_where_alike(*self.infer(rows, training))
        return self.forward_rows(rows, evidence, step, training, num_samples=2)

    def _pairs(self, batch: Batch) -> Batch:
        """Makes rows of images `[b, H, W, 2 C]`, or `[b, H, W, C]` for two of the same: `[2 b, H, W, C]`."""
        images = batch["images"]
        if images.shape[-1] == self.num_channels:
            images = tf.concat([images, images], axis=3)
        both = tf.stack(tf.split(images, 2, axis=3), axis=1)
        return {**batch, "images": tf.reshape(both, (-1, *both.shape[2:]))}


def shared_where_alike(mean: tf.Tensor, log_variance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Averages the Gaussians of a pair in the dimensions in which they are alike.

    Args:
      mean: `[2 b, D]`, the two of a pair in consecutive rows.
      log_variance: the same.

    Returns:
      Mean and log variance, `[2 b, D]`.
    """
    means, log_variances = ((values[0::2], values[1::2]) for values in (mean, log_variance))
    one, other = (Gaussian(*each) for each in zip(means, log_variances, strict=True))
    divergence = tf.stop_gradient(one.kl_per_dimension(other))
    threshold = (tf.reduce_max(divergence, 1, True) + tf.reduce_min(divergence, 1, True)) / 2
    is_shared = divergence < threshold
    average = (means[0] + means[1]) / 2
    log_average = tf.reduce_logsumexp(tf.stack(log_variances), axis=0) - tf.math.log(
        tf.constant(2.0, log_variance.dtype)
    )

    def chosen(averaged, own):
        rows = tf.stack([tf.where(is_shared, averaged, each) for each in own], axis=1)
        return tf.reshape(rows, (-1, rows.shape[2]))

    return chosen(average, means), chosen(log_average, log_variances)
