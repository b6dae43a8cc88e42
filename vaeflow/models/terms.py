"""`Forward`, the input of an objective; `Term`, its output; and `Update`, a change that no gradient makes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError


class Term(NamedTuple):
    """One term of an objective.

    Attributes:
      value: unweighted, in nats unless the model says otherwise: `[b]`, per example; or a
        scalar computed from the batch in scope (see `Model`), equal on all replicas that
        share this batch.
      weight: a float or scalar tensor; the loss is the sum of weight · mean(value).
      group: the `ParameterGroup` whose variables it trains, one of the model's
        `parameter_groups`; None for the model's own variables.
    """

    value: tf.Tensor
    weight: Any = 1.0
    group: str | None = None

    def weight_as(self, dtype: tf.DType) -> tf.Tensor:
        """Returns the weight as a scalar tensor of `dtype`."""
        if isinstance(self.weight, (int, float)):
            return tf.constant(self.weight, dtype)  # `tf.cast` would take it through float32.
        return tf.cast(self.weight, dtype)


class Update(NamedTuple):
    """A change of variables that no gradient makes, computed from sums over the global batch.

    The sums of all parts, accumulation steps and replicas are added up first. The change is then
    made once a step, together with those of the optimizers: on all replicas or, where the step
    is skipped, on none. It is not made in evaluation.

    Attributes:
      statistics: a tensor, or a nest of tensors: sums over this part's examples, of the dtype
        of the model's variables.
      new_values: a function of the sums over the global batch, a nest like `statistics`; returns
        pairs of a Keras variable that is not trainable, and its new value.

    Example:
        def updates(self, forward, step):
            count = tf.cast(forward.num_examples, forward.latents.dtype)
            sums = (tf.reduce_sum(forward.latents, axis=0), count)
            return {"latent_mean": Update(sums, lambda s: [(self.mean, 0.9 * self.mean + 0.1 * s[0] / s[1])])}
    """

    statistics: Any
    new_values: Callable[[Any], Sequence[tuple[Any, tf.Tensor]]]


def losses_by_group(terms: dict[str, Term], means: dict[str, tf.Tensor]) -> dict[str | None, tf.Tensor]:
    """Adds up what each parameter group minimizes.

    Args:
      terms: a dict, name -> `Term`.
      means: a dict, name -> scalar, each term's mean or a part's share of it.

    Returns:
      A dict, group -> scalar, the sum of weight · mean over the group's terms.
    """
    losses = {}
    for name, term in terms.items():
        weighted = term.weight_as(means[name].dtype) * means[name]
        losses[term.group] = losses[term.group] + weighted if term.group in losses else weighted
    return losses


def check_groups(terms: dict[str, Term], groups: Iterable[str | None]) -> None:
    """Raises `ConfigurationError` where a term names a group that is not there, or a group has no term."""
    named = {term.group for term in terms.values()}
    for name, term in terms.items():
        if term.group not in groups:
            known = ", ".join(repr(group) for group in groups)
            raise ConfigurationError(
                f"the objective's term {name!r} is of the parameter group {term.group!r}, which is none of "
                f"{known}; name it in the model's `parameter_groups`"
            )
    for group in groups:
        if group not in named:
            raise ConfigurationError(
                f"no term of the objective trains the parameter group {group!r}; give one Term(…, group="
                f"{group!r})"
            )


class Forward(NamedTuple):
    """What one pass through a model gives its objective.

    Attributes:
      images: x, `[b, H, W, C]`, floats in [0, 1], this replica's.
      posterior: q(z|x), a `Gaussian` with `[b, D]`.
      latents: z ~ q(z|x), `[b, D]`.
      reconstruction: p(x|z), a distribution over `[b, H, W, C]`.
      block_losses: scalars that nested blocks tracked with `add_loss`.
      training: whether the blocks behaved as in training.
    """

    images: tf.Tensor
    posterior: Gaussian
    latents: tf.Tensor
    reconstruction: Any
    block_losses: list
    training: bool = False

    @property
    def num_examples(self):
        """b: an int, or a scalar int32 tensor where `fit` leaves the size of a batch open."""
        size = self.latents.shape[0]
        return tf.shape(self.latents)[0] if size is None else size
