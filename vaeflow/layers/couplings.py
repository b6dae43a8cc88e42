"""Coupling layers: one half of the variables moves by a function of the other half."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Layer, Shape, build_chain, run_chain
from vaeflow.layers.dense import dense_stack
from vaeflow.layers.splines import num_spline_parameters, spline_of


class Coupling(Layer):
    """Moves one half of the variables by a function whose parameters a dense net makes of the other half.

    Dinh et al. 2017 (arXiv:1605.08803), section 3.2. Both directions cost one pass through the
    net. The net's last layer starts at zero, and with it the coupling at the identity.

    Args:
      hidden_units: the widths of the net's hidden layers.
      activation: the name of a Keras activation.
      moves_first: whether the first half moves, not the second.
      num_parameters: how many numbers the net makes for each variable that moves.
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        activation: str,
        moves_first: bool,
        num_parameters: int,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.moves_first = moves_first
        self.num_parameters = num_parameters
        self.output_layer = keras.layers.Dense(num_parameters, kernel_initializer="zeros")
        self.net = [*dense_stack(hidden_units, activation), self.output_layer]

    def build(self, input_shape: Shape) -> None:
        """Builds the net for values of `(None, D)`."""
        size: Any = input_shape[-1]
        self.sizes = (size // 2, size - size // 2)
        moved, kept = self.sizes if self.moves_first else self.sizes[::-1]
        self.output_layer.units = self.num_parameters * moved
        build_chain(self.net, (None, kept), self.dtype_policy)

    def forward(self, value: tf.Tensor, context: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y for x `[r, D]`, and log abs det ∂y/∂x `[r]`; see `vaeflow.distributions.Flow`.

        Args:
          value: x.
          context: what is added to what the first hidden units get, `[r, hidden_units[0]]`, or None.
        """
        moved, kept = self._halves(value)
        moved, log_slopes = self.moved_forward(moved, self._parameters(kept, context))
        return self._joined(moved, kept), tf.reduce_sum(log_slopes, axis=1)

    def inverse(self, value: tf.Tensor, context: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x for y `[r, D]`, and log abs det ∂y/∂x `[r]`; arguments as for `forward`."""
        moved, kept = self._halves(value)
        moved, log_slopes = self.moved_back(moved, self._parameters(kept, context))
        return self._joined(moved, kept), tf.reduce_sum(log_slopes, axis=1)

    def moved_forward(self, moved: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Moves a half `[r, d]` by parameters `[r, num_parameters · d]`: its new values, and log slopes."""
        raise NotImplementedError(f"{type(self).__name__} must implement `moved_forward`")

    def moved_back(self, moved: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Inverts `moved_forward`; the log slopes are the same."""
        raise NotImplementedError(f"{type(self).__name__} must implement `moved_back`")

    def _parameters(self, kept, context):
        if context is None:
            return run_chain(self.net, kept)
        first, *others = self.net
        return run_chain(others, first(kept) + context)

    def _halves(self, value):
        first, second = tf.split(value, self.sizes, axis=-1)
        return (first, second) if self.moves_first else (second, first)

    def _joined(self, moved, kept):
        return tf.concat([moved, kept] if self.moves_first else [kept, moved], axis=-1)


class AffineCoupling(Coupling):
    """Scales and shifts one half of the variables by functions of the other half.

    Dinh et al. 2017 (arXiv:1605.08803), Eq. 4 to 8: y_b = x_b ⊙ exp(s(x_a)) + t(x_a), with a tanh
    on s (section 4.1).

    Args:
      hidden_units: as for `Coupling`.
      activation: as for `Coupling`.
      moves_first: as for `Coupling`.
    """

    def __init__(self, hidden_units: Sequence[int], activation: str, moves_first: bool, **kwargs: Any):
        super().__init__(hidden_units, activation, moves_first, 2, **kwargs)

    def moved_forward(self, moved: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_scale, shift = self._log_scale_and_shift(parameters)
        return moved * tf.exp(log_scale) + shift, log_scale

    def moved_back(self, moved: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_scale, shift = self._log_scale_and_shift(parameters)
        return (moved - shift) * tf.exp(-log_scale), log_scale

    def _log_scale_and_shift(self, parameters):
        log_scale, shift = tf.split(parameters, 2, axis=-1)
        return tf.tanh(log_scale), shift


class SplineCoupling(Coupling):
    """Sends each variable of one half through a spline that depends on the other half.

    Durkan et al. 2019 (arXiv:1906.04032), section 3.2: RQ-NSF (C).

    Args:
      hidden_units: as for `Coupling`.
      activation: as for `Coupling`.
      moves_first: as for `Coupling`.
      num_bins: K, how many pieces a spline has.
      bound: B; the splines are the identity outside of [−B, B].
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        activation: str,
        moves_first: bool,
        num_bins: int,
        bound: float,
        **kwargs: Any,
    ):
        super().__init__(hidden_units, activation, moves_first, num_spline_parameters(num_bins), **kwargs)
        self.num_bins = num_bins
        self.bound = bound

    def moved_forward(self, moved: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._splines(moved, parameters).forward(moved)

    def moved_back(self, moved: tf.Tensor, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._splines(moved, parameters).inverse(moved)

    def _splines(self, moved, parameters):
        by_variable = tf.reshape(parameters, (-1, moved.shape[1], self.num_parameters))
        return spline_of(by_variable, self.num_bins, self.bound)


def check_two_halves(block: Any, shape: Sequence[int | None], others: str) -> None:
    """Raises `ConfigurationError` unless latents `(None, D)` have two halves.

    Args:
      block: the block that couples them.
      shape: of the latents.
      others: what to choose in its place, for the message.
    """
    if len(shape) != 2 or shape[1] == 1:
        raise ConfigurationError(
            f"`{type(block).__name__}` needs latents [B, D] with D of 2 or more, since one half moves the "
            f"other, got [B, {', '.join(map(str, shape[1:]))}]; choose another {others}"
        )
