"""Puts a run together from its parts: its data, its trainer, and the context that its callbacks see."""

from typing import NamedTuple

import keras
import tensorflow as tf

from vaeflow import config
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.callbacks import RunContext
from vaeflow.datasets import Dataset, Split, pipeline
from vaeflow.datasets.checks import check_pairs
from vaeflow.models import frozen_blocks
from vaeflow.models.base import Model
from vaeflow.models.weight_names import names_in_checkpoints
from vaeflow.runs import failures
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.signals import StopRequest
from vaeflow.runs.workdir import WorkDir
from vaeflow.training import making
from vaeflow.training.settings import RunSettings, TrainingSettings
from vaeflow.training.trainer import Trainer


class Parts(NamedTuple):
    """The parts of a run that live on its devices.

    Attributes:
      strategy: a `tf.distribute` strategy.
      model: a model, made in the strategy's scope.
      optimizer: a new Keras optimizer, made there too.
    """

    strategy: tf.distribute.Strategy
    model: Model
    optimizer: keras.optimizers.Optimizer


class Data(NamedTuple):
    """The data of a run.

    Attributes:
      source: the name of the dataset, for messages.
      train: the `Split` that is trained on.
      evaluation: the `Split` that is evaluated during the training.
      evaluated: its name.
    """

    source: str
    train: Split
    evaluation: Split
    evaluated: str

    def fingerprints(self) -> dict[str, str]:
        """Returns what `data.json` holds: split -> `Split.fingerprint()`."""
        return {"train": self.train.fingerprint(), self.evaluated: self.evaluation.fingerprint()}


def read_data(dataset: Dataset) -> Data:
    """Reads the data of a run.

    Raises:
      DataError: it is missing or unreadable.
    """
    train = pipeline.read_split(dataset, "train", augmented=True)
    # Test images choose nothing: with a validation split, a training does not read them.
    evaluated = "validation" if pipeline.has_validation(dataset) else "evaluation"
    return Data(type(dataset).__name__, train, pipeline.read_split(dataset, evaluated), evaluated)


def make_context(
    parts: Parts,
    data: Data,
    settings: tuple[RunSettings, TrainingSettings],
    workdir: WorkDir,
    stop_request: StopRequest,
    configuration: str,
    num_workers: int = 1,
) -> RunContext:
    """Makes the trainer and the evaluator of a run, at step 0; its schedules learn the length of the run.

    Args:
      parts: the `Parts`.
      data: the `Data`.
      settings: the `RunSettings` and the `TrainingSettings`.
      workdir: where the run writes.
      stop_request: whether the run was asked to stop.
      configuration: the gin text of the run.
      num_workers: the number of workers.

    Raises:
      ConfigurationError: the parts do not fit together.
    """
    plan, training = settings
    num_steps = plan.steps_for(data.train.num_examples, training.batch_size)
    making.follow_run(parts.model, parts.optimizer, num_steps)
    check_pairs(parts.model, data.train)
    with config.values_checked(), failures.weights_checked():
        trainer = Trainer(parts.model, parts.optimizer, data.train, training, parts.strategy)
    examples = Examples(parts.model, data.evaluation, parts.strategy, training.batch_size, training.seed)
    return RunContext(
        trainer=trainer,
        evaluator=Evaluator(examples),
        evaluation_split=data.evaluation,
        evaluated=data.evaluated,
        workdir=workdir,
        checkpoints=CheckpointStore(
            workdir.checkpoints,
            image_shape=data.train.shape,
            frozen_files=frozen_blocks.files(parts.model),
            log_digest=lambda: workdir.log_digest,
            weights=names_in_checkpoints(parts.model, training.ema_decay is not None),
        ),
        stop_request=stop_request,
        num_steps=num_steps,
        configuration=configuration,
        source=data.source,
        facts=_facts(data, trainer, num_workers),
    )


def placement(run: RunContext, num_workers: int) -> dict[str, int | str]:
    """Returns what a run is trained on: how many replicas and workers, and which kind of devices."""
    return {
        "replicas": run.trainer.strategy.num_replicas_in_sync,
        "kind": device_kind(),
        "workers": num_workers,
    }


def device_kind() -> str:
    """Returns what replicas are placed on here: `"GPU"` or `"CPU"`."""
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"


def weights_digest(model: Model) -> str:
    """Returns the SHA-256 of all weights of a model but those of its frozen blocks."""
    return weights_sha256(frozen_blocks.without(model, model.weights))


def _facts(data: Data, trainer: Trainer, num_workers: int) -> dict[str, str]:
    """Describes the run for people: name -> text."""
    model, split, strategy = trainer.model, trainer.split, trainer.strategy
    shape = " x ".join(map(str, split.shape))
    num_replicas = strategy.num_replicas_in_sync
    num_rounds, num_parts = trainer.replica_step.num_rounds, trainer.replica_step.parallel_parts
    batch_size = trainer.settings.batch_size
    num_latents = getattr(model, "num_latents", None)
    return {
        "model": f"{type(model).__name__}, {frozen_blocks.num_weights(model, ' weights')}, "
        + (f"{num_latents} latents, " if num_latents else "")
        + model.dtype_policy.name,
        "data": f"{data.source}, {split.num_examples:,} training and "
        f"{data.evaluation.num_examples:,} {data.evaluated} {split.content} of {shape}, {split.dtype}"
        + (", on the device" if trainer.resident else ", streamed")
        + "".join(f", {type(each).__name__}" for each in getattr(split, "augmentations", ())),
        "devices": f"{num_replicas} {device_kind()} replica"
        + ("s" if num_replicas > 1 else "")
        + (f" on {num_workers} workers" if num_workers > 1 else ""),
        "batch": f"{batch_size} images, {batch_size // num_replicas} a replica"
        + (f", in {num_rounds} rounds" if num_rounds > 1 else "")
        + (f", in {num_parts} parts side by side" if num_parts > 1 else ""),
        "compile mode": trainer.compile_mode,
    }
