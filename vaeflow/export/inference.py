"""A trained model as a `tf.Module`: what others do with it, without Keras."""

import functools

import tensorflow as tf

from vaeflow import random


class InferenceModule(tf.Module):
    """What others do with a trained model, as TensorFlow functions without Keras.

    Images and latents are float32, also for a model in mixed precision; float64 for a
    float64 model. The number of examples B is free, the size of an image is not.

    - `encode(images)`, `[B, H, W, C]` in [0, 1], gives q(z|x): `mean` and
      `log_variance`, `[B, D]`.
    - `decode(latents)`, `[B, D]`, gives `images` `[B, H, W, C]`, the mean of p(x|z).
    - `reconstruct(images)` gives `reconstructions` `[B, H, W, C]`, the same at the mean
      of q(z|x).
    - `sample(num_samples, seed)`, int32 and int64 scalars, gives `images`: the means of
      p(x|z) for z ~ p(z). A seed gives the same images each time.

    Args:
      model: a built model, made under the default strategy.
      image_shape: `(H, W, C)`.
    """

    def __init__(self, model, image_shape):
        super().__init__()
        # TensorFlow's variables, not Keras' around them: a SavedModel of the latter needs Keras.
        self.weights = [variable.value for variable in model.variables]
        self.image_shape = tuple(image_shape)
        self.num_latents = model.num_latents
        self.dtype = tf.as_dtype(model.variable_dtype)
        images = tf.TensorSpec((None, *image_shape), self.dtype, "images")
        latents = tf.TensorSpec((None, model.num_latents), self.dtype, "latents")

        def encode(images):
            posterior = model.encode(images)
            return {"mean": posterior.mean, "log_variance": posterior.log_variance}

        def decode(latents):
            return {"images": model.decode(latents).mean}

        def reconstruct(images):
            return {"reconstructions": model(images)}

        def sample(num_samples, seed):
            # The key of the noise is made of the seed here, where the step would be.
            with random.keyed(0, "export", seed):
                return {"images": model.sample(num_samples)}

        self.encode = self._function(encode, images)
        self.decode = self._function(decode, latents)
        self.reconstruct = self._function(reconstruct, images)
        self.sample = self._function(
            sample, tf.TensorSpec((), tf.int32, "num_samples"), tf.TensorSpec((), tf.int64, "seed")
        )

    def functions(self, names=("encode", "decode", "reconstruct", "sample")):
        """Returns the named functions: name -> `tf.function`."""
        return {name: getattr(self, name) for name in names}

    def _function(self, compute, *signature):
        @functools.wraps(compute)  # The names of the arguments become those of the signature's inputs.
        def computed(*arguments, **named):
            # A decoder that draws noise of its own draws the same each time.
            with random.keyed(0, "export", 0):
                outputs = compute(*arguments, **named)
            return {name: tf.cast(value, self.dtype) for name, value in outputs.items()}

        return tf.function(computed, input_signature=signature, autograph=False)
