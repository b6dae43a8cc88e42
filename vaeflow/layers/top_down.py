"""The top-down net of a deep hierarchy of latents, which p, q and the decoder share."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import CHANNELS_LAST, Decoder, Layer, Shape, build_chain
from vaeflow.layers.bottlenecks import BottleneckBlock, hidden_filters, scaled_start, with_channels

# The largest height or width of a map with a bias at each place, as in the authors' program.
_LARGEST_BIAS = 64


class TopDownGroup(Layer):
    """One group of latents of a hierarchy, a map, on a state `[b, h, w, F]` that is passed downwards.

    The top-down block of Child 2021 (arXiv:2011.10650, Fig. 3). Of the state alone, `prior` computes
    p(z|…) and a change of the state; of the state and the features of the images, `posterior` computes
    q(z|x, …). The latents are added to the state by a 1x1 convolution, and `residual` follows. At the start
    p is N(0, I) and the change 0.

    Args:
      num_latents: D, the channels of the map of latents.
      filters: F.
      bottleneck: see `TopDownDecoder`.
      scale: of the initial weights of what is added to the state, see `BottleneckBlock`.
    """

    def __init__(self, num_latents: int, filters: int, bottleneck: float, scale: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_latents = num_latents
        hidden = hidden_filters(filters, bottleneck)
        # The KL is sensitive to the parameters of p and q, so these are as precise as the variables.
        self.prior = BottleneckBlock(2 * num_latents + filters, hidden, scale=0.0, precise=True)
        self.posterior = BottleneckBlock(2 * num_latents, hidden, precise=True)
        self.projection = keras.layers.Conv2D(
            filters, 1, kernel_initializer=scaled_start(scale), **CHANNELS_LAST
        )
        self.residual = BottleneckBlock(filters, hidden, residual=True, scale=scale)

    def build(self, input_shape: Any) -> None:
        *places, filters = input_shape
        for block, channels in (
            (self.prior, filters),
            (self.posterior, 2 * filters),
            (self.projection, self.num_latents),
            (self.residual, filters),
        ):
            build_chain([block], (*places, channels), self.dtype_policy)

    def prior_of(self, outputs: Any) -> tuple[Gaussian, tf.Tensor]:
        """Returns p(z|…) of the outputs of `prior`, and the change of the state."""
        mean, log_variance, change = tf.split(outputs, (self.num_latents, self.num_latents, -1), axis=-1)
        return Gaussian(mean, log_variance), tf.cast(change, self.compute_dtype)

    def posterior_of(self, outputs: Any) -> Gaussian:
        """Returns q(z|x, …) of the outputs of `posterior`."""
        mean, log_variance = tf.split(outputs, 2, axis=-1)
        return Gaussian(mean, log_variance)


@registry.layer
class TopDownDecoder(Decoder):
    """Groups of latents on maps of growing size, and a 1x1 convolution to images: see `HierarchicalVAE`.

    The decoder of Child 2021 (arXiv:2011.10650, section 3), on the maps that an encoder such as
    `BottleneckEncoder` gives. The state begins with a trained bias at each place of the smallest map;
    between two maps it is enlarged (nearest neighbours), and the bias of the next is added. Maps above
    64x64 have no bias. `call` makes the outputs of the last state.

    Args:
      num_groups: how many groups of latents each map has, the smallest map first; one map at least has some.
      bottleneck: the channels inside a block, as a share of those of its map.
      num_latents: the channels of the latents of a group; None lets the model say it.
      target_shape: `(H, W, C)`, see `Decoder`.

    Attributes:
      groups: the `TopDownGroup`s in order.
      names: their names, such as 8x8_2 for the second of the map of 8x8.

    Raises:
      ConfigurationError: the maps are not as many as `num_groups` says, two of them have the same size,
        or the largest has not that of the images.
      ValueError: a setting is out of range.
    """

    latents_rank = 4

    def __init__(
        self,
        num_groups: Sequence[int] = (1, 2, 2, 2),
        bottleneck: float = 0.25,
        num_latents: int | None = None,
        target_shape: Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(target_shape, **kwargs)
        name = type(self).__name__
        for each in validation.list_of(f"{name}.num_groups", num_groups, int, "(1, 2, 2)"):
            validation.non_negative_integer(f"{name}.num_groups", each)
        self.num_groups = tuple(num_groups)
        if not sum(self.num_groups):
            raise ValueError(f"`{name}.num_groups` must have a number above 0, got {num_groups!r}")
        self.bottleneck = validation.share(f"{name}.bottleneck", bottleneck)
        self.num_latents = num_latents

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the number of latents that the model set."""
        return super().get_config() | {"num_latents": self.num_latents}

    def build(self, input_shape: Any) -> None:
        """Builds the groups for maps `(None, h, w, F)`, the largest first, as an encoder gives them."""
        self.map_shapes = [tuple(shape[1:]) for shape in reversed(input_shape)]
        self._check_maps()
        scale = sum(self.num_groups) ** -0.5
        self.groups, self.names, self.biases = [], [], []
        for shape, count in zip(self.map_shapes, self.num_groups, strict=True):
            height, width, filters = shape
            has_bias = max(height, width) <= _LARGEST_BIAS
            self.biases.append(self._add_bias(shape) if has_bias else None)
            for number in range(1, count + 1):
                self.names.append(f"{height}x{width}_{number}")
                group = TopDownGroup(self.num_latents, filters, self.bottleneck, scale)  # pyright: ignore[reportArgumentType]
                group.dtype_policy = self.dtype_policy
                group.build((None, *shape))
                self.groups.append(group)
        self.output_layer = keras.layers.Conv2D(self.checked_target_shape()[-1], 1, **CHANNELS_LAST)
        build_chain([self.output_layer], (None, *self.map_shapes[-1]), self.dtype_policy)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Tells the shape of the outputs of a state."""
        return (*input_shape[:-1], self.checked_target_shape()[-1])

    def stages(self) -> Iterator[dict[str, TopDownGroup]]:
        """Yields the groups of each map, the smallest first: name -> group."""
        named = iter(zip(self.names, self.groups, strict=True))
        for count in self.num_groups:
            yield dict(next(named) for _ in range(count))

    def enter(self, stage: int, state: Any = None) -> tf.Tensor:
        """Returns the state at the start of a map, `[b, h, w, F]`, of that at the end of the map before.

        Args:
          stage: the number of the map, 0 for the smallest.
          state: None at the first map; the result has one row then.
        """
        height, width, filters = self.map_shapes[stage]
        bias = self.biases[stage]
        start = tf.zeros((1, height, width, filters), self.compute_dtype)
        if bias is not None:
            start += tf.cast(bias, self.compute_dtype)
        if state is None:
            return start
        for axis, size in ((1, height), (2, width)):
            state = tf.repeat(state, -(-size // state.shape[axis]), axis=axis)
        return start + with_channels(state[:, :height, :width], filters)

    @property
    def last_kernel(self) -> keras.Variable:
        return self.output_layer.kernel

    def call(self, state: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self.output_layer(state)

    def _add_bias(self, shape):
        return self.add_weight(name="bias", shape=shape, initializer="zeros")

    def _check_maps(self):
        sizes = [f"{height}x{width}" for height, width, _ in self.map_shapes]
        name = type(self).__name__
        if len(sizes) != len(self.num_groups):
            raise ConfigurationError(
                f"`{name}.num_groups` has {len(self.num_groups)} numbers, and the encoder gives "
                f"{len(sizes)} maps ({', '.join(sizes)}); name a number for each, the smallest map first"
            )
        if len(set(sizes)) < len(sizes):
            raise ConfigurationError(
                f"the maps of a {name} must grow, and the encoder's are {', '.join(sizes)}; give it fewer "
                "strides, or larger images"
            )
        height, width, _ = self.checked_target_shape()
        if sizes[-1] != f"{height}x{width}":
            raise ConfigurationError(
                f"the largest map of a {name} must be as large as the images, {height}x{width}, and the "
                f"encoder's is {sizes[-1]}; let its first map be of that size"
            )
