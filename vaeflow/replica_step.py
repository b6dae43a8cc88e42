"""What one replica does in a training step: its share of the loss, and the update."""

import tensorflow as tf

from vaeflow import distribute, random
from vaeflow.datasets import pipeline
from vaeflow.errors import ConfigurationError


def share_of_loss(terms, block_losses, batch_size, num_parts):
    """Divides the terms so that the shares of all parts of a global batch sum to the loss.

    This is the only place that divides: a term per example by the global batch
    size; a scalar, which every part has whole, by the number of parts.

    Args:
      terms: a dict, name -> `Term`.
      block_losses: scalars that blocks tracked, means over this part's examples.
      batch_size: the global batch size.
      num_parts: into how many parts the global batch is cut.

    Returns:
      A pair: the share of the loss, a scalar; and a dict of shares to report,
      `loss`, each term unweighted, and each weight that is not simply 1.
    """
    shares, loss = {}, None
    for name, term in terms.items():
        per_example = term.value.shape.rank == 1
        share = tf.reduce_sum(term.value) / batch_size if per_example else term.value / num_parts
        weight = term.weight_as(share.dtype)
        shares[name] = share
        if not isinstance(term.weight, float) or term.weight != 1.0:
            shares[f"{name}_weight"] = weight / num_parts
        loss = weight * share if loss is None else loss + weight * share
    if block_losses:
        shares["block_losses"] = tf.add_n([tf.cast(value, loss.dtype) for value in block_losses]) / num_parts
        loss += shares["block_losses"]
    return loss, {"loss": loss, **shares}


def _check_shapes(terms, num_examples):
    for name, term in terms.items():
        shape = term.value.shape
        if shape.rank not in (0, 1) or shape.rank == 1 and shape[0] not in (None, num_examples):
            raise ConfigurationError(
                f"the objective's term {name!r} must be a scalar or have one value for each "
                f"of the {num_examples} examples, got shape {tuple(shape)}; reduce it over all but the first "
                "axis"
            )


def _refuse_coupled_terms(terms):
    coupled = [name for name, term in terms.items() if term.value.shape.rank == 0]
    if coupled:
        raise ConfigurationError(
            f"`train.gradient_accumulation_steps` must be 1 for this model: its term {coupled[0]!r} couples "
            "the whole batch, and would be computed on parts of it"
        )


class ReplicaStep:
    """Computes the gradient of the global batch's loss, and applies it.

    In this order: each replica's share of the gradient, summed over the replicas;
    the check that it is finite; clipping by the global norm; the update.

    Args:
      model: a built model.
      optimizer: built by `optimizers.build_for_reduced_gradients`.
      binarization: of the dataset.
      batch_size: the global batch size.
      seed: keys the noise.
      gradient_clip_norm: the largest global norm, or None.
      gradient_accumulation_steps: into how many parts a replica cuts its examples,
        one after the other, to save memory.
    """

    def __init__(
        self,
        model,
        optimizer,
        binarization,
        batch_size,
        seed,
        gradient_clip_norm=None,
        gradient_accumulation_steps=1,
    ):
        self.model = model
        self.optimizer = optimizer
        self.binarization = binarization
        self.batch_size = batch_size
        self.seed = seed
        self.gradient_clip_norm = gradient_clip_norm
        self.gradient_accumulation_steps = gradient_accumulation_steps

    def loss(self, images, step, first_position=0):
        """Computes the share of the loss of some examples of the global batch.

        Args:
          images: `[b, H, W, C]` as stored.
          step: the global step.
          first_position: the position in the global batch of the first image.

        Returns:
          As `share_of_loss`.
        """
        with random.keyed(self.seed, "train", step, first_position):
            floats = pipeline.to_floats(images, self.model.variable_dtype, self.binarization)
            forward = self.model.forward(floats, training=True)
            terms = self.model.objective(forward, step)
        _check_shapes(terms, images.shape[0])
        if self.gradient_accumulation_steps > 1:
            _refuse_coupled_terms(terms)
        num_parts = distribute.num_replicas() * self.gradient_accumulation_steps
        return share_of_loss(terms, forward.block_losses, self.batch_size, num_parts)

    def gradient(self, images, step):
        """Computes the clipped gradient of the global batch's loss, inside a replica.

        Args:
          images: this replica's part, `[b, H, W, C]` as stored.
          step: the global step.

        Returns:
          The gradients, one for each trainable variable; the metrics, a dict of
          scalars of the global batch; and whether both are finite.
        """
        gradients, metrics = self._accumulated(images, step)
        names = sorted(metrics)
        packed = tf.stack([metrics[name] for name in names])
        *gradients, packed = distribute.sum_over_replicas([*gradients, packed])
        metrics = dict(zip(names, tf.unstack(packed)))
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(metrics["loss"])
        if self.gradient_clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.gradient_clip_norm, use_norm=norm)
        return gradients, metrics | {"gradient_norm": tf.cast(norm, packed.dtype)}, finite

    def apply(self, gradients):
        """Updates the weights, inside a replica."""
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _accumulated(self, images, step):
        """Sums gradients and shares over the parts of this replica's examples."""
        size = images.shape[0] // self.gradient_accumulation_steps
        first_position = distribute.replica_index() * images.shape[0]
        totals = None
        for part in range(self.gradient_accumulation_steps):
            # One part after the other: side by side they would not save memory.
            with tf.control_dependencies(tf.nest.flatten(totals) if totals else []):
                examples = tf.identity(images[part * size : (part + 1) * size])
                result = self._gradient_of(examples, step, first_position + part * size)
            totals = result if totals is None else tf.nest.map_structure(tf.add, totals, result)
        return totals

    def _gradient_of(self, images, step, first_position):
        # TensorFlow's own variables: of a Keras variable it cannot make the gradient 0.
        variables = [variable.value for variable in self.model.trainable_variables]
        with tf.GradientTape() as tape:
            loss, shares = self.loss(images, step, first_position)
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return gradients, shares
