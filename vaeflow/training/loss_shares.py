"""How the terms of an objective are divided among the parts of a global batch, and reported."""

from typing import NamedTuple

import tensorflow as tf

from vaeflow.layers.terms import Term
from vaeflow.models.base import Model
from vaeflow.models.terms import losses_by_group


class Probe(NamedTuple):
    """The facts about an objective that one pass of it shows.

    Attributes:
      metric_names: the names of the metrics that a step reports.
      coupling: names what couples the examples of a batch, for people; None where nothing
        does.
      has_block_losses: whether blocks track losses of their own.
      normalizes_over_batch: whether a block normalizes over the batch.
    """

    metric_names: list[str]
    coupling: str | None
    has_block_losses: bool
    normalizes_over_batch: bool


def share_of_loss(
    terms: dict[str, Term], block_losses: list[tf.Tensor], batch_size: int, num_parts: int
) -> tuple[dict[str | None, tf.Tensor], dict[str, tf.Tensor]]:
    """Divides the terms so that the shares of all parts of a global batch sum to the loss.

    This is the only place that divides: a term per example by the global batch
    size; a scalar, which every part has whole, by the number of parts.

    Args:
      terms: a dict, name -> `Term`.
      block_losses: scalars that blocks tracked, means over this part's examples.
      batch_size: the global batch size.
      num_parts: into how many parts the global batch is cut.

    Returns:
      A pair: the shares of what is minimized, a dict, parameter group -> scalar; and
      a dict of shares to report: `loss`, that of the model's own group, each term
      unweighted, and its weight.
    """
    shares = {}
    for name, term in terms.items():
        per_example = term.value.shape.rank == 1
        share = tf.reduce_sum(term.value) / batch_size if per_example else term.value / num_parts
        shares[name] = share
        shares[f"{name}_weight"] = term.weight_as(share.dtype) / num_parts
    losses = losses_by_group(terms, shares)
    if block_losses:
        total = tf.add_n([tf.cast(value, losses[None].dtype) for value in block_losses])
        shares["block_losses"] = total / num_parts
        losses[None] += shares["block_losses"]
    return losses, {"loss": losses[None], **shares}


def norm_name(group: str | None) -> str:
    """Names the metric of the gradient norm of a group, before it is clipped, or of a joined loss."""
    return "gradient_norm" if group is None else f"{group}_gradient_norm"


def weight_name(joined_loss: str) -> str:
    """Names the metric of the weight with which a joined loss counts."""
    return f"{joined_loss}_weight"


def coupling_of(model: Model, terms: dict[str, Term]) -> str | None:
    """Names what couples the examples of the batch in an objective, for people; None where nothing does."""
    coupled = [name for name, term in terms.items() if term.value.shape.rank == 0]
    if coupled:
        return f"its term {coupled[0]!r}"
    return f"the objective of {type(model).__name__}" if model.couples_examples else None
