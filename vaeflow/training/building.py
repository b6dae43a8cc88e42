"""Builds a model and its optimizers for a training, and refuses what would not train well."""

import keras
import tensorflow as tf

from vaeflow import optimizers
from vaeflow.datasets import Split
from vaeflow.datasets.checks import check_reads
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.models import batches, frozen_blocks, weight_names
from vaeflow.models.base import Model
from vaeflow.training.first_examples import start_from_examples
from vaeflow.training.settings import TrainingSettings


def check_division(settings: TrainingSettings, num_replicas: int) -> None:
    """Raises `ConfigurationError` unless a batch can be divided over the replicas and their parts."""
    batch_size, accumulation_steps = settings.batch_size, settings.gradient_accumulation_steps
    parts = num_replicas * accumulation_steps
    if batch_size % parts:
        raise ConfigurationError(
            f"`train.batch_size` is global and must be divisible by the number of replicas "
            f"({num_replicas}) times `train.gradient_accumulation_steps` ({accumulation_steps}), "
            f"got {batch_size}; try {max(1, round(batch_size / parts)) * parts}"
        )


def build(
    model: Model,
    optimizer: keras.optimizers.Optimizer,
    split: Split,
    settings: TrainingSettings,
    strategy: tf.distribute.Strategy,
) -> None:
    """Builds the model and its optimizers for images of a split, of which some blocks take a few."""
    with strategy.scope():
        batches.check_reads(model)
        check_reads(model, split)
        # For a model whose objective needs the size of the training set.
        if getattr(model, "num_examples", 0) is None:
            model.num_examples = split.num_examples
        with user_code.running(model, "build"):
            model.build((None, *split.shape))
        start_from_examples(model, split, settings.seed)
        frozen_blocks.freeze(model, weight_names.chosen_variables(model, settings.frozen, "train.frozen"))
        for owner, variables in optimizers.optimizers_of(model.all_parameter_groups(optimizer)).values():
            optimizers.build_for_reduced_gradients(owner, variables)
        refuse_dependence_on_replicas(model, strategy.num_replicas_in_sync)


def refuse_dependence_on_replicas(model: Model, num_replicas: int) -> None:
    """Refuses blocks of Keras' own that would make the result depend on the number of replicas."""
    if num_replicas == 1:
        return
    for layer in model.all_layers():
        if any(isinstance(value, keras.random.SeedGenerator) for value in vars(layer).values()):
            raise ConfigurationError(
                f"the layer {layer.name!r} ({type(layer).__name__}) draws Keras' noise, which is the same "
                f"on each of the {num_replicas} replicas; draw it with vaeflow.random, or train on one"
            )
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized:
            raise ConfigurationError(
                f"the layer {layer.name!r} normalizes over each replica's examples alone; give it "
                "synchronized=True, or use GroupNormalization or LayerNormalization"
            )
