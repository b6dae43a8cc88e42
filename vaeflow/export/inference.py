"""A trained model as a `tf.Module` whose functions work without Keras."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vaeflow import random

if TYPE_CHECKING:
    from vaeflow.distributions import Distribution
    from vaeflow.models.vae import VAE


class InferenceModule(tf.Module):
    """The functions of a trained model for other programs, in TensorFlow without Keras.

    Images and latents are float32, also for a model in mixed precision, and float64 for a
    float64 model. The number of examples B is free; the size of an image is fixed.

    - `encode(images)`, `[B, H, W, C]` in [0, 1], gives q(z|x): its parameters, of a Gaussian
      `mean` and `log_variance`, `[B, D]`; and its `center`, `[B, D]`, where that is not the mean.
    - `decode(latents)`, `[B, D]`, gives `images` `[B, H, W, C]`, the mean of p(x|z).
    - `reconstruct(images)` gives `reconstructions` `[B, H, W, C]`, the mean of p(x|z) at
      the center of q(z|x).
    - `sample(num_samples, seed)`, int32 and int64 scalars, gives `images`: the means of
      p(x|z) for z ~ p(z). The same seed gives the same images.

    Args:
      model: a built model, made under the default strategy.
      image_shape: `(H, W, C)`.
    """

    def __init__(self, model: VAE, image_shape: Sequence[int]) -> None:
        super().__init__()
        # TensorFlow's variables, not the Keras variables around them: those would need Keras to load.
        self.weights = [variable.value for variable in model.variables]
        self.image_shape = tuple(image_shape)
        self.num_latents = model.num_latents
        self.dtype = tf.as_dtype(model.variable_dtype)
        images = tf.TensorSpec((None, *image_shape), self.dtype, "images")
        latents = tf.TensorSpec((None, model.num_latents), self.dtype, "latents")

        def encode(images):
            posterior = model.encode(images)
            return _encoded(posterior)

        def decode(latents):
            return {"images": model.decode(latents).mean}

        def reconstruct(images):
            return {"reconstructions": model(images)}

        def sample(num_samples, seed):
            # Here the seed takes the place of the step in the key of the noise.
            with random.keyed(0, "export", seed):
                return {"images": model.sample(num_samples)}

        self.encode = self._function(encode, images)
        self.decode = self._function(decode, latents)
        self.reconstruct = self._function(reconstruct, images)
        self.sample = self._function(
            sample, tf.TensorSpec((), tf.int32, "num_samples"), tf.TensorSpec((), tf.int64, "seed")
        )

    def functions(
        self, names: Sequence[str] = ("encode", "decode", "reconstruct", "sample")
    ) -> dict[str, Any]:
        """Returns the named functions: name -> `tf.function`."""
        return {name: getattr(self, name) for name in names}

    def _function(self, compute: Callable[..., dict[str, tf.Tensor]], *signature: tf.TensorSpec) -> Any:
        @functools.wraps(compute)  # The argument names become the names of the signature's inputs.
        def computed(*arguments, **named):
            # A decoder that draws noise itself draws the same noise each time.
            with random.keyed(0, "export", 0):
                outputs = compute(*arguments, **named)
            return {name: tf.cast(value, self.dtype) for name, value in outputs.items()}

        return tf.function(computed, input_signature=signature, autograph=False)


def encoded_names(model: VAE, image_shape: Sequence[int]) -> tuple[str, ...]:
    """Names what `encode` gives; the first is the center of q(z|x), which `decode` takes."""
    return tuple(_encoded(model.encode(tf.zeros((1, *image_shape), model.variable_dtype))))


def _encoded(posterior: Distribution) -> dict[str, tf.Tensor]:
    named = posterior.parameters
    # A Gaussian's mean is its center.
    return dict(named) if next(iter(named)) == "mean" else {"center": posterior.center} | named
