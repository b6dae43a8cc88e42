"""The distance of two images in the features of a frozen net."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions.base import full_precision
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers.base import Layer, Shape, build_once
from vaeflow.layers.frozen import FrozenNet

# So that features that are all 0 at a place have a gradient.
_SMALLEST_SQUARE = 1e-10


@registry.layer
class PerceptualDistance(Layer):
    """How far apart two images are for a net that was trained on images before: LPIPS.

    Zhang et al. 2018 (arXiv:1801.03924, Eq. 1): d(x, x̂) = Σ_l 1 / (H_l W_l) Σ_hw |w_l ⊙ (y_hw − ŷ_hw)|²
    over layers l, where y and ŷ are the features of the two images, divided by their length over the
    channels. It counts once for each of the H·W·C numbers of an image, as it does in the losses of VQGAN
    and latent diffusion: the term's weight is `weight` · H · W · C. Those losses take |x − x̂| of
    pixels in −1 … 1 besides, so with a Laplace likelihood of scale b their weight v is v / 2b here.

    No net comes with vaeflow. Take one that you have as a `.keras` file or a SavedModel:

        VQGAN.perceptual = @PerceptualDistance()
        PerceptualDistance.net = @FrozenNet()
        PerceptualDistance.mean = (0.485, 0.456, 0.406)
        PerceptualDistance.std = (0.229, 0.224, 0.225)
        FrozenNet.file = "vgg16.keras"
        FrozenNet.layers = ("block1_conv2", "block2_conv2", "block3_conv3")

    Args:
      net: a `FrozenNet` from images to features, of one layer or several, `[b, h, w, C_l]` or `[b, C_l]`.
      weight: a float or a schedule of the step.
      weighting_layers: the names of layers in the net's `.keras` file, one for each output: 1x1
        convolutions from C_l channels to 1, as LPIPS learned them. Their kernels are the w_l² of Eq. 1.
        Without any, all w_l are 1.
      mean: what is subtracted from images in [0, 1] first: a number, or one for each channel. Of three
        numbers a grey image becomes one of three channels.
      std: what they are divided by then, likewise.

    Raises:
      ConfigurationError: the net is no `FrozenNet`, or a layer does not fit.
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        net: FrozenNet | None = None,
        weight: validation.Weight = 1.0,
        weighting_layers: str | Sequence[str] = (),
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not isinstance(net, FrozenNet):
            raise ConfigurationError(
                f"`PerceptualDistance.net` must be a FrozenNet, got {net!r}; in a gin file write "
                "PerceptualDistance.net = @FrozenNet() with parentheses"
            )
        self.net: FrozenNet = net
        self.weight = validation.weight("PerceptualDistance.weight", weight)
        self.weighting_layers = validation.texts("PerceptualDistance.weighting_layers", weighting_layers)
        self.mean = _numbers("PerceptualDistance.mean", mean, validation.finite_number)
        self.std = _numbers("PerceptualDistance.std", std, validation.positive_number)

    def build(self, input_shape: Shape) -> None:
        channels = {each for each in (input_shape[-1], len(self.mean), len(self.std)) if each != 1}
        if len(channels) > 1:
            raise ConfigurationError(
                f"`PerceptualDistance.mean` and `std` have {len(self.mean)} and {len(self.std)} numbers, and "
                f"images {input_shape[-1]} channels; give one number, or one for each channel"
            )
        scaled_shape = (*input_shape[:-1], *(channels or {1}))
        build_once(self.net, scaled_shape)
        with user_code.running(self.net, "call"):
            spec = self.net.compute_output_spec(keras.KerasTensor(scaled_shape, dtype=self.compute_dtype))
        self._check(tf.nest.flatten(spec))

    def call(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Returns the features of images, of length 1 at each place: `[b, h, w, C_l]` of each layer."""
        mean, std = (tf.constant(numbers, images.dtype) for numbers in (self.mean, self.std))
        features = [full_precision(each) for each in tf.nest.flatten(self.net((images - mean) / std))]
        squares = [tf.reduce_sum(tf.square(each), axis=-1, keepdims=True) for each in features]
        return [
            each * tf.math.rsqrt(square + _SMALLEST_SQUARE)
            for each, square in zip(features, squares, strict=True)
        ]

    def distance(self, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
        """Returns the distance of each pair of images `[b, H, W, C]` in [0, 1], `[b]`.

        Gradients flow to the second of a pair only.
        """
        distances = []
        for index, (one, other) in enumerate(zip(self(images), self(others), strict=True)):
            squares = tf.math.squared_difference(tf.stop_gradient(one), other)
            if self.weighting_layers:
                kernel = self.net.kernel_of(self.weighting_layers[index])
                squares *= tf.cast(tf.reshape(kernel, [-1]), squares.dtype)
            at_places = tf.reduce_sum(squares, axis=-1)
            distances.append(tf.reduce_mean(tf.reshape(at_places, (tf.shape(at_places)[0], -1)), axis=1))
        return tf.cast(tf.add_n(distances), self.variable_dtype)

    def _check(self, features):
        """Raises `ConfigurationError` unless there is a weight for each channel, where there are weights."""
        if self.weighting_layers and len(self.weighting_layers) != len(features):
            raise ConfigurationError(
                f"`PerceptualDistance.weighting_layers` names {len(self.weighting_layers)} layers, and the "
                f"net has {len(features)} outputs; name one for each"
            )
        for name, each in zip(self.weighting_layers, features, strict=False):
            shape = tuple(self.net.kernel_of(name).shape)
            if shape != (1, 1, each.shape[-1], 1):
                raise ConfigurationError(
                    f"the kernel of {name!r} is {list(shape)}, expected [1, 1, {each.shape[-1]}, 1], "
                    "that of a 1x1 convolution to one channel; correct `PerceptualDistance.weighting_layers`"
                )


def _numbers(name, value, check):
    """Returns a tuple of checked numbers, of one or of a list of them."""
    return tuple(check(name, each) for each in (value if isinstance(value, (list, tuple)) else (value,)))
