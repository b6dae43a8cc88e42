"""The diffusion model of the latents that another run wrote."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.denoiser import Denoiser
from vaeflow.layers.terms import Term
from vaeflow.models import batches
from vaeflow.models.base import Model
from vaeflow.models.batches import Batch
from vaeflow.models.blocks import shape_text


@dataclasses.dataclass(frozen=True)
class DiffusionForward:
    """One pass of a `DiffusionPrior`.

    Attributes:
      images: the latents, `[b, h, w, D]`.
      noise_loss: ‖ε − ε_θ‖² of each example, `[b]`.
      block_losses: scalars that nested blocks tracked with `add_loss`.
      training: whether the blocks behaved as in training.
    """

    images: tf.Tensor
    noise_loss: tf.Tensor
    block_losses: list
    training: bool = False


@registry.model
class DiffusionPrior(Model):
    """A denoising diffusion model of latents, maps or vectors (Ho et al. 2020, arXiv:2006.11239).

    It is the second stage of an autoencoder, as in Rombach et al. 2022 (arXiv:2112.10752). Noise is added in
    T steps, q(z_t|z_0) = N(√ᾱ_t z_0, (1 − ᾱ_t) I) (Eq. 4), with variances β_1 … β_T on a straight
    line and ᾱ_t = Π_{s ≤ t} (1 − β_s). The net ε_θ(z_t, t) tells the noise at a random t; it minimizes

        E ‖ε − ε_θ(√ᾱ_t z_0 + √(1 − ᾱ_t) ε, t)‖²        (Eq. 14)

    which is no likelihood. With labels y the net sees them too. The latents should have a standard deviation
    of about 1: set `Latents.scaling`.

    Draws go through S ≤ T of the times (Song et al. 2021, arXiv:2010.02502, Eq. 12 and 16): `eta` = 0
    is DDIM, without noise on the way; `eta` = 1 is ancestral sampling, for S = T that of Ho et al. 2020,
    Alg. 2, with the variances β̃_t.

    A batch's `images` are latents, floats `[b, h, w, D]`, as `vaeflow encode` writes them and the dataset
    `Latents` reads them; a vector is a map of one place.

    Args:
      net: a block such as `Denoiser`; None for `Denoiser()`.
      num_classes: how many values the label of an example has, or a list with a number for each factor;
        None for a model that reads no labels.
      num_times: T.
      first_variance: β_1.
      last_variance: β_T.
      num_sampling_steps: S.
      eta: how much noise a draw adds on the way.
      **kwargs: as for `Model`.

    Raises:
      ConfigurationError: S is above T, or β_T is below β_1 or not below 1.
      ValueError: another setting is out of range.
    """

    takes = "latents"

    def __init__(
        self,
        net: keras.layers.Layer | None = None,
        num_classes: int | Sequence[int] | None = None,
        num_times: int = 1000,
        first_variance: float = 1e-4,
        last_variance: float = 0.02,
        num_sampling_steps: int = 50,
        eta: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name = type(self).__name__
        if num_classes is not None:
            self.reads = ("labels",)
            self.label_sizes = validation.size_or_sizes(f"{name}.num_classes", num_classes)
        self.net: Any = self._block("net", net, lambda: Denoiser(dtype=self.dtype_policy))
        self.num_times = validation.positive_integer(f"{name}.num_times", num_times)
        self.num_sampling_steps = validation.positive_integer(
            f"{name}.num_sampling_steps", num_sampling_steps
        )
        self.eta = validation.non_negative_number(f"{name}.eta", eta)
        first = validation.positive_number(f"{name}.first_variance", first_variance)
        last = validation.positive_number(f"{name}.last_variance", last_variance)
        if num_sampling_steps > num_times:
            raise ConfigurationError(
                f"`{name}.num_sampling_steps` must be at most `{name}.num_times`, {num_times}, got "
                f"{num_sampling_steps}"
            )
        if not first <= last < 1:
            raise ConfigurationError(
                f"`{name}.last_variance` must be from `{name}.first_variance`, {first}, to below 1, got "
                f"{last}"
            )
        # ᾱ_0 … ᾱ_T, float64.
        self.kept = np.concatenate([[1.0], np.cumprod(1.0 - np.linspace(first, last, num_times))])

    def build(self, input_shape: Shape) -> None:
        """Builds the net for latents of `(None, h, w, D)`."""
        self.map_shape: Any = tuple(input_shape[1:])
        if len(self.map_shape) != 3:
            raise ValueError(
                f"{type(self).__name__} expects latents of the shape [B, h, w, D], got {tuple(input_shape)}; "
                "a vector is a map of one place"
            )
        self.net.label_sizes = self.label_sizes
        build_once(self.net, input_shape)

    def forward(
        self, batch: Any, step: int | tf.Tensor = schedules.END_OF_TIME, training: bool = False
    ) -> DiffusionForward:
        batch = self._checked(batch)
        latents: Any = batch["images"]
        rows = tf.shape(latents)[0] if latents.shape[0] is None else latents.shape[0]
        # The noise is in (0, 1], so t is in 1 … T.
        uniform: Any = random.uniform((rows, 1), "float64")
        times = tf.cast(tf.math.ceil(uniform[:, 0] * self.num_times), tf.int32)
        noise: Any = random.normal((rows, *self.map_shape), latents.dtype)
        kept: Any = tf.cast(tf.gather(tf.constant(self.kept), times), latents.dtype)[:, None, None, None]
        noisy = tf.sqrt(kept) * latents + tf.sqrt(1.0 - kept) * noise
        predicted = self._noise_in(noisy, times, batch.get("labels"), training)
        loss = tf.reduce_sum(tf.square(noise - predicted), axis=[1, 2, 3])
        return DiffusionForward(latents, loss, list(self.losses), training)

    def objective(self, forward: DiffusionForward, step: int | tf.Tensor) -> dict[str, Term]:
        return {"noise_loss": Term(forward.noise_loss)}

    def evaluated(self, forward: DiffusionForward) -> dict[str, tf.Tensor]:
        """Returns the loss, and its share for each number of the latents: 1 where the net tells nothing."""
        share = forward.noise_loss / math.prod(self.map_shape)
        return {"noise_loss": forward.noise_loss, "noise_error": share}

    def selection_score(self, results: dict[str, float]) -> float:
        return results["noise_loss"]

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Returns the latents that ε_θ finds in those of the middle time, without noise: `[b, h, w, D]`."""
        batch = self._checked(inputs)
        time = -(-self.num_times // 2)
        kept = self.kept[time]
        latents: Any = math.sqrt(kept) * batch["images"]
        times = tf.fill((tf.shape(latents)[0],), time)
        predicted = self._noise_in(latents, times, batch.get("labels"), training)
        return (latents - math.sqrt(1.0 - kept) * predicted) / math.sqrt(kept)

    def sample(self, num_samples: int, labels: Any = None, temperature: float = 1.0) -> tf.Tensor:
        """Draws latents, `[n, h, w, D]`, of the scale of those that it was trained on.

        Args:
          num_samples: n.
          labels: integers `[n, F]`, for a model that reads them.
          temperature: what the standard deviation of all noise is multiplied by, above 0.
        """
        if not self.built:
            raise ConfigurationError(
                f"`{type(self).__name__}.sample` needs a model that knows the size of latents: train it, "
                "load it, or call build((None, h, w, D)) first"
            )
        labels = batches.checked_for(self, batches.as_batch({}, labels)).get("labels")
        batches.check_num_labels(labels, num_samples)
        validation.positive_number("temperature", temperature)
        shape = (num_samples, *self.map_shape)
        count = self.num_sampling_steps
        times = [-(-self.num_times * number // count) for number in range(count + 1)]
        latents: Any = temperature * random.normal(shape, self.variable_dtype)
        for time, earlier in zip(times[:0:-1], times[-2::-1], strict=True):
            kept, kept_earlier = self.kept[time], self.kept[earlier]
            predicted = self._noise_in(latents, tf.fill((num_samples,), time), labels)
            center = (latents - math.sqrt(1.0 - kept) * predicted) / math.sqrt(kept)
            variance = (1.0 - kept_earlier) / (1.0 - kept) * (1.0 - kept / kept_earlier)
            deviation = self.eta * math.sqrt(variance)
            towards = math.sqrt(max(1.0 - kept_earlier - deviation**2, 0.0))
            latents = math.sqrt(kept_earlier) * center + towards * predicted
            if deviation:
                latents += temperature * deviation * random.normal(shape, self.variable_dtype)
        return latents

    def _noise_in(self, noisy, times, labels, training=False):
        """Returns ε_θ in the dtype of the variables."""
        predicted = self.net(noisy, times, labels, training=training)
        return tf.cast(predicted, self.variable_dtype)

    def _checked(self, inputs) -> Batch:
        """Returns a batch of latents with what the model reads, and builds the model for it."""
        batch = batches.checked_for(self, batches.as_batch(inputs))
        latents = tf.convert_to_tensor(batch["images"])
        self._build_for(latents)
        if not latents.dtype.is_floating or latents.shape[1:] != self.map_shape:
            raise ConfigurationError(
                f"this {type(self).__name__} takes latents, floats of the shape "
                f"{shape_text(self.map_shape)}, got {latents.dtype.name} of {shape_text(latents.shape[1:])}; "
                "`vaeflow encode` makes latents"
            )
        return batch | {"images": tf.cast(latents, self.variable_dtype)}
