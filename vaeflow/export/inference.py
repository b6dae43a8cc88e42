"""A trained model as a `tf.Module` whose functions work without Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow.export.code_prior import CodePriorModule
from vaeflow.export.exported import Arguments, Exported, drawing

if TYPE_CHECKING:
    from vaeflow.models.forward import Forward
    from vaeflow.models.latent_model import LatentModel


class InferenceModule(Exported):
    """The functions of a trained model with latents.

    Images and latents are float32, also for a model in mixed precision, and float64 for a
    float64 model; codes are integers. The number of examples B is free; the size of an image is
    fixed.

    - `encode(images)`, `[B, H, W, C]` in [0, 1], gives q(z|x): its parameters, of a Gaussian
      `mean` and `log_variance`, `[B, D]`; and its `center`, `[B, D]`, where that is not the mean.
    - `decode(latents)`, `[B, D]`, gives `images` `[B, H, W, C]`, the mean of p(x|z).
    - `reconstruct(images)` gives `reconstructions` `[B, H, W, C]`, the mean of p(x|z) at
      the center of q(z|x).
    - `sample(num_samples, seed)`, int32 and int64 scalars, gives `images`: the means of
      p(x|z) for z ~ p(z). The same seed gives the same images.

    With a posterior of codes there are two more:

    - `encode_codes(images)` gives `codes`, int32 `[B, h, w, G]`, G numbers at each place.
    - `decode_codes(codes)` gives `images`, the mean of p(x|z) at the latents that they stand for.

    With several groups of latents, `encode` gives `center_<group>` and so on, and `decode` takes
    `latents_<group>`. With a model that reads labels, each takes `labels` too, int64 `[B, F]`, and
    `sample(seed, labels)` draws as many images as there are labels.

    Args:
      model: a built model, made under the default strategy.
      image_shape: `(H, W, C)`.

    Attributes:
      latent_shapes: of each group, without the batch: group -> shape.
      code_sizes: how many values each of the G codes of a place has; empty without codes.
      code_shape: `(h, w, G)` of the codes of an image; empty without codes.
    """

    def __init__(self, model: LatentModel, image_shape: Sequence[int]) -> None:
        super().__init__(model)
        self.image_shape = tuple(image_shape)
        draws = blank_pass(model, image_shape).draws
        self.latent_shapes: dict[str, Any] = {
            name: tuple(draw.value.shape.as_list()[1:]) for name, draw in draws.items()
        }
        self.code_sizes = code_sizes_of(model)
        self.code_shape = codes_shape(draws) if self.code_sizes else ()
        images = {"images": tf.TensorSpec((None, *image_shape), self.dtype, "images")}
        latents = {
            name: tf.TensorSpec((None, *self.latent_shapes[group]), self.dtype, name)
            for group, name in self.latent_names.items()
        }
        labels, drawn = self.labels_signature(), self.draws_signature()

        def encode(inputs):
            return encoded(model.centred(inputs))

        def decode(inputs):
            latents = {group: inputs[name] for group, name in self.latent_names.items()}
            return {"images": model.decode(latents, inputs.get("labels")).mean}

        def reconstruct(inputs):
            return {"reconstructions": model(inputs)}

        def sample(inputs):
            with drawing(inputs) as num_samples:
                return {"images": model.sample(num_samples, inputs.get("labels"))}

        def encode_codes(inputs):
            return {"codes": model.encode_codes(inputs["images"], inputs.get("labels"))}

        def decode_codes(inputs):
            return {"images": model.decode_codes(inputs["codes"], inputs.get("labels")).mean}

        self.encode = self._function(encode, images | labels)
        self.decode = self._function(decode, latents | labels)
        self.reconstruct = self._function(reconstruct, images | labels)
        self.sample = self._function(sample, drawn)
        if self.code_sizes:
            codes = {"codes": tf.TensorSpec((None, *self.code_shape), tf.int32, "codes")}
            self.encode_codes = self._function(encode_codes, images | labels)
            self.decode_codes = self._function(decode_codes, codes | labels)
        of_codes = ("encode_codes", "decode_codes") if self.code_sizes else ()
        self.function_names = ("encode", "decode", "reconstruct", "sample", *of_codes)
        # Where two codes are nearly as near, rounding may choose the other one.
        self.choosing = ("encode", "reconstruct", "encode_codes") if self.code_sizes else ()

    @property
    def latent_names(self) -> dict[str, str]:
        """Group of latents -> its name among the inputs of `decode`."""
        return {group: f"latents{suffix(group, self.latent_shapes)}" for group in self.latent_shapes}

    def example_arguments(self, generator: np.random.Generator, count: int, seed: int) -> Arguments:
        """Makes images, latents and codes; see `Exported`."""
        images = generator.random((count, *self.image_shape)).astype(self.dtype.as_numpy_dtype)
        latents: dict[str, Any] = {
            self.latent_names[group]: generator.standard_normal((count, *shape)).astype(images.dtype)
            for group, shape in self.latent_shapes.items()
        }
        size = (count, *self.code_shape)
        codes = generator.integers(0, self.code_sizes, size, np.int32) if self.code_sizes else None
        labels, drawn = self.example_labels(generator, count)
        arguments = {
            "encode": {"images": images, **labels},
            "decode": {**latents, **labels},
            "reconstruct": {"images": images, **labels},
            "sample": {**drawn, "seed": np.int64(seed), **labels},
            "encode_codes": {"images": images, **labels},
            "decode_codes": {"codes": codes, **labels},
        }
        return {name: arguments[name] for name in self.function_names}


def module_of(model: Any, shape: Sequence[int]) -> Exported:
    """Returns the functions of a built model.

    Args:
      model: a model with latents, or a `CodePrior`.
      shape: `(H, W, C)` of the images, or `(h, w, G)` of the codes, that it takes.
    """
    return CodePriorModule(model, shape) if model.takes == "codes" else InferenceModule(model, shape)


def encoded(forward: Forward) -> dict[str, tf.Tensor]:
    """Names what `encode` gives of a pass at the centers: each group's center, and its parameters."""
    named = {}
    for group, draw in forward.draws.items():
        parameters = draw.posterior.parameters
        # A Gaussian's mean is its center.
        has_mean = next(iter(parameters)) == "mean"
        of_group = parameters if has_mean else {"center": draw.value, **parameters}
        named |= {f"{name}{suffix(group, forward.draws)}": value for name, value in of_group.items()}
    return named


def center_name(group: str, draws: dict[str, Any]) -> str:
    """Returns the name of a group's center among what `encode` gives."""
    center = "mean" if next(iter(draws[group].posterior.parameters)) == "mean" else "center"
    return f"{center}{suffix(group, draws)}"


def blank_pass(model: LatentModel, image_shape: Sequence[int]) -> Forward:
    """Returns the pass of one black image at the centers, for the names and shapes in it."""
    blank = {"images": tf.zeros((1, *image_shape), model.variable_dtype)}
    if "labels" in model.reads:
        blank["labels"] = tf.zeros((1, len(model.label_sizes)), tf.int64)
    return model.centred(blank)


def code_sizes_of(model: Any) -> tuple[int, ...]:
    """Returns how many values each code of a place has; empty for a model without `encode_codes`."""
    return tuple(getattr(getattr(model, "posterior", None), "code_sizes", None) or ())


def codes_shape(draws: dict[str, Any]) -> tuple[int, ...]:
    """Returns the shape of the codes of an image, of a model with one group of them."""
    (draw,) = draws.values()
    return tuple(draw.posterior.codes.shape.as_list()[1:])


def suffix(group: str, groups: Any) -> str:
    """Returns what tells the names of a group from those of others; nothing where there is one."""
    return "" if len(groups) == 1 else f"_{group}"
