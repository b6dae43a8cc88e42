"""The training images that some blocks begin from, as the pseudo-inputs of a prior may."""

import tensorflow as tf

from vaeflow import random
from vaeflow.analysis import traversals
from vaeflow.datasets import Split
from vaeflow.datasets.order import ExampleOrder
from vaeflow.devices import replicas
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.models.base import Model


def start_from_examples(model: Model, split: Split, seed: int) -> None:
    """Gives each block of a model as many training images as its `num_start_examples` says.

    They are the first in the order of the run, so they depend on its seed alone, and are the same
    on all replicas and workers. All workers take what the first one makes of them. Call it in the
    strategy's scope.

    Args:
      model: a built model.
      split: the training split.
      seed: of the run.

    Raises:
      ConfigurationError: the split has fewer images.
      DataError: an image cannot be read.
    """
    for block in model.all_layers():
        count = getattr(block, "num_start_examples", 0)
        if count > split.num_examples:
            raise ConfigurationError(
                f"{type(block).__name__} begins from {count} training images, and there are only "
                f"{split.num_examples}; let it begin from fewer, or at random"
            )
        if count:
            chosen = ExampleOrder(split.num_examples, count, seed).batch(0)
            batch = traversals.read_batch(split, chosen, model.variable_dtype, seed, model.reads)
            with random.keyed(seed, "start", 0), user_code.running(block, "start_from_examples"):
                block.start_from_examples(batch, model)
            strategy = tf.distribute.get_strategy()
            for variable in block.weights:
                # Computed from images by other devices, they may differ in their last bits.
                variable.assign(replicas.of_first_worker(strategy, tf.convert_to_tensor(variable)))
