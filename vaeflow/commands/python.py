"""Training from Python: objects in place of a gin file, and all else as the command `train` does it."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from vaeflow import config, validation
from vaeflow.callbacks import Callback
from vaeflow.commands import assembly, session
from vaeflow.datasets import Dataset
from vaeflow.devices.workers import find_workers
from vaeflow.errors import user_code
from vaeflow.models.base import Model
from vaeflow.optimizers import Adam
from vaeflow.training import making
from vaeflow.training.settings import refuse_unknown, with_settings


@with_settings
def train(
    model: Model,
    dataset: Dataset,
    workdir: str,
    optimizer: keras.optimizers.Optimizer | None = None,
    strategy: tf.distribute.Strategy | None = None,
    callbacks: Sequence[Callback] | None = None,
    allow_config_change: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Trains a model, or resumes where the work folder's run was stopped, as `vaeflow train` does.

    The work folder gets the same files: checkpoints, metrics, summaries, pictures, the
    result. Its `config.gin` only describes the objects, so `vaeflow.load` and the commands
    cannot make the model from it; to resume, call this again with the same objects.

    Args:
      model: a model; make it in the scope of `strategy`, after
        `keras.utils.set_random_seed` if its initial weights are to be the same each time.
      dataset: a `Dataset`.
      workdir: the folder of the run.
      optimizer: a new Keras optimizer, made in that scope; None for `Adam()`.
      strategy: a `tf.distribute` strategy; None for TensorFlow's default, one device.
      callbacks: a list of `Callback`s; None for the defaults: progress, evaluation,
        images, summaries, checkpoints.
      allow_config_change: resume although the objects or settings differ.
      **settings: as for `RunSettings` and `TrainingSettings`; `num_steps` and `batch_size`
        must be given.

    Returns:
      The content of `result.json`.

    Raises:
      ConfigurationError: a setting is wrong; nothing was read or written.
      EnvironmentFailure: the disk or the data failed.
      TrainingDiverged: the loss or gradient is not finite.
      Preempted: a signal asked to stop, and the state is saved; call this again to resume.

    Example:

        vae = vaeflow.VAE(num_latents=10)
        result = vaeflow.train(vae, datasets.MNIST(), "runs/mine", num_steps=1000, batch_size=128)
        print(result["evaluation/negative_elbo"])
    """
    chosen_strategy: Any = tf.distribute.get_strategy() if strategy is None else strategy
    refuse_unknown(settings)
    with config.values_checked():
        _check_model(model)
        chosen = making.checked({"dataset": dataset, "precision": model.dtype_policy.name, **settings})
        if callbacks is not None:
            callbacks = validation.list_of("callbacks", callbacks, Callback, "[Progress(), Checkpoints()]")
    with chosen_strategy.scope():
        chosen_optimizer = Adam() if optimizer is None else optimizer
    making.follow_run(model, chosen_optimizer, chosen[0].num_steps)  # Before they are described.
    described = _described(model, dataset, chosen_optimizer, chosen)
    with user_code.running(None):
        return session.run(
            lambda: assembly.Parts(chosen_strategy, model, chosen_optimizer),
            dataset,
            session.Folder(
                workdir,
                _as_comments(described),
                str,
                allow_config_change,
                parameters=lambda: dict(config.flattened(described)),
            ),
            chosen,
            session.default_callbacks() if callbacks is None else callbacks,
            find_workers() if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) else None,
        )


def _check_model(model):
    if not isinstance(model, Model):
        advice = "; call the class, as in VAE()" if isinstance(model, type) else ""
        raise TypeError(f"`model` must be a vaeflow.models.Model, got {model!r}{advice}")


def _described(model, dataset, optimizer, settings):
    """Describes what is trained, as JSON has it."""
    described = {
        "model": keras.saving.serialize_keras_object(model),
        "optimizer": keras.saving.serialize_keras_object(optimizer),
        "dataset": type(dataset).__name__,
        "settings": [dataclasses.asdict(each) for each in settings],
    }
    return json.loads(json.dumps(_without_names(described), sort_keys=True, default=repr))


def _as_comments(described):
    """Writes the description as comments, which gin passes over."""
    text = json.dumps(described, indent=1, sort_keys=True)
    lines = ["Trained from Python by vaeflow.train, with these objects and settings:", *text.splitlines()]
    return "".join(f"# {line}\n" for line in lines)


def _without_names(described):
    """Leaves out the names of layers: Keras numbers them by what the process made before."""
    if isinstance(described, dict):
        return {key: _without_names(value) for key, value in described.items() if key != "name"}
    if isinstance(described, (list, tuple)):
        return [_without_names(value) for value in described]
    return described
