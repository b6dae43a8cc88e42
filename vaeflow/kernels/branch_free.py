"""Optimizers that can skip an update by selection, where a branch would make the host wait for a GPU.

The host decides a branch (`tf.cond`), so at each step it would wait until a GPU has told whether all
gradients are finite, and could send it no further work meanwhile. Here the GPU selects instead: the
gradient becomes 0 where the update is skipped, and so do learning rate and weight decay, and what decays
moments becomes 1. Every variable then keeps its bits, but that -0.0 may become 0.0 under Adam. A zeroed
gradient alone would still move the weights by their moments.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

# Not at run time, where it stands before such an optimizer.
_Base: Any = keras.optimizers.Optimizer if TYPE_CHECKING else object

_local = threading.local()  # Replicas are traced by a thread each.


class BranchFree(_Base):
    """A mix-in before a Keras optimizer: scalars are computed once a step, and updates can be skipped.

    It serves an optimizer that changes its variables by `assign`, `assign_add` and `assign_sub` of its own.
    """

    def apply_where(
        self, applies: tf.Tensor, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]
    ) -> None:
        """Updates variables as `apply` does, or where `applies` is False none of them, without a branch.

        Args:
          applies: a scalar of type bool.
          gradients: of the variables, of any values where `applies` is False.
          variables: have no constraints.
        """
        with _selecting(applies):
            self._backend_apply_gradients(gradients, variables)
        self._iterations.assign_add(tf.cast(applies, self._iterations.dtype))

    def scalars(self, learning_rate: Any, dtype: str) -> tuple[tf.Tensor, ...]:
        """Returns what an update of any variable of a dtype needs; the learning rate comes first."""
        return (self.chosen(tf.cast(learning_rate, dtype), 0.0),)

    @property
    def may_skip(self) -> bool:
        """Whether the update that is traced is one of `apply_where`."""
        return _applies() is not None

    @staticmethod
    def chosen(value: tf.Tensor, otherwise: Any) -> tf.Tensor:
        """Returns `value`, or what takes its place where the update is skipped."""
        applies = _applies()
        return value if applies is None else tf.where(applies, value, tf.cast(otherwise, value.dtype))

    def update_variable(self, gradient: tf.Tensor, variable: Any, scalars: Sequence[tf.Tensor]) -> None:
        """Updates a variable and what belongs to it; by default as Keras does."""
        super().update_step(gradient, variable, scalars[0])

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        """Updates a variable, by what `_backend_update_step` gives in place of a learning rate."""
        scalars, applies = learning_rate
        with _selecting(applies):
            own = scalars[variable.dtype.name]
            if applies is not None and self.weight_decay is not None and self._use_weight_decay(variable):
                decay = variable * tf.cast(self.weight_decay, variable.dtype) * own[0]
                self.assign_sub(variable, decay)
            self.update_variable(gradient, variable, own)

    def assign(self, variable: Any, value: Any) -> None:
        """Assigns, unless the update is skipped; so do the next two."""
        super().assign(variable, self.chosen(tf.cast(value, variable.dtype), variable))

    def assign_add(self, variable: Any, value: Any) -> None:
        """Adds to a variable."""
        # -0.0 + 0.0 would be 0.0.
        super().assign_add(variable, self.chosen(tf.cast(value, variable.dtype), -0.0))

    def assign_sub(self, variable: Any, value: Any) -> None:
        """Subtracts from a variable."""
        super().assign_sub(variable, self.chosen(tf.cast(value, variable.dtype), 0.0))

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        dtypes = sorted({tf.as_dtype(variable.dtype).name for variable in trainable_variables})
        scalars = {dtype: self.scalars(learning_rate, dtype) for dtype in dtypes}
        # In place of the learning rate, which Keras hands on to the device of each copy of a variable.
        super()._backend_update_step(grads, trainable_variables, (scalars, _applies()))

    def _apply_weight_decay(self, variables):
        if _applies() is None:  # Else `update_step` does it.
            super()._apply_weight_decay(variables)


def _applies():
    """Returns whether the update that is traced is made; None where it is known to be."""
    return getattr(_local, "applies", None)


@contextlib.contextmanager
def _selecting(applies: tf.Tensor | None) -> Iterator[None]:
    before = _applies()
    _local.applies = applies
    try:
        yield
    finally:
        _local.applies = before
