"""A trained model, read back from its work folder."""

import dataclasses
import pathlib
from typing import Any

import tensorflow as tf

from vaeflow import config, registry, validation
from vaeflow.datasets import pipeline
from vaeflow.devices import cores, graph_rewrites, strategies
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.layers import FrozenNet
from vaeflow.models import frozen_blocks, weight_names
from vaeflow.models.base import Model
from vaeflow.runs import frozen_files, watchdog
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.hub import repository
from vaeflow.runs.workdir import WorkDir
from vaeflow.training import making
from vaeflow.training.settings import RunSettings, taken_from

# What gin must not set on a command that uses a trained model.
FLAG_ADVICE = {"workdir": "use the flag --workdir instead", "checkpoint": "use the flag --checkpoint instead"}
TOKENIZER_ADVICE = {"tokenizer": "use the flag --tokenizer instead"}
# What the training alone needs; a configuration from elsewhere makes nothing of it.
_FOR_TRAINING = ("callbacks", "strategy")


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model as a run left it, and what the run tells of it.

    Attributes:
      model: built, with the weights of the checkpoint; their moving average where the
        run kept one.
      dataset: the run's `Dataset`, of which nothing is read yet; None if it was left out.
      strategy: the strategy that the model was made under.
      workdir: the run's `WorkDir`.
      checkpoint: the checkpoint's folder.
      step: how many steps the model was trained.
      metrics: what was recorded with the checkpoint, a dict of floats.
      image_shape: `(H, W, C)` of the images that the model takes.
      batch_size: the run's global batch size, rounded up to a multiple of the number of
        replicas of `strategy`.
      settings: what gin gave to `train`, without `callbacks` and `strategy`: name -> value.
    """

    model: Any
    dataset: Any
    strategy: Any
    workdir: WorkDir
    checkpoint: pathlib.Path
    step: int
    metrics: dict
    image_shape: tuple
    batch_size: int
    settings: dict

    @property
    def seed(self):
        """The seed of the run."""
        return self.settings["seed"]

    def checked_batch_size(self, setting, batch_size=None):
        """Returns a batch size that a user has set, or `batch_size` of the run where it is None.

        Raises:
          ConfigurationError: it is not divisible by the number of replicas.
        """
        num_replicas = self.strategy.num_replicas_in_sync
        if batch_size is not None and batch_size % num_replicas:
            raise ConfigurationError(
                f"`{setting}` must be divisible by the number of replicas ({num_replicas}), got {batch_size}"
            )
        return batch_size or self.batch_size

    def split(self, name="evaluation"):
        """Reads a split of the dataset.

        Raises:
          ConfigurationError: its images are not of `image_shape`.
          DataError: it is missing or unreadable.
        """
        split = pipeline.read_split(self.dataset, name)
        if split.shape != self.image_shape:
            raise ConfigurationError(
                f"the model takes images of {_size(self.image_shape)}, those of "
                f"{type(self.dataset).__name__} are of {_size(split.shape)}; give it data of its own "
                "size"
            )
        return split


def load(workdir, checkpoint="best", plugins=()):
    """Loads a trained model for use in Python, on one device.

    A model on the Hugging Face Hub is fetched into the cache of its library, and each file that is read is
    compared with its SHA-256, each time. Nothing in the repository is run: its configuration can name what
    vaeflow and `plugins` register, and no file.

    Args:
      workdir: the work folder of a run; or a repository that `vaeflow push` made, `"hf://owner/name"` or
        `"hf://owner/name@revision"`, where a revision is a branch, a tag or a commit.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path. A repository has one.
      plugins: modules with the run's own blocks or models, which you trust.

    Returns:
      The model: `encode`, `decode`, `sample`, and all that a `keras.Model` has.

    Raises:
      ConfigurationError: the folder is not that of a run, or has no such checkpoint; there is no such
        repository, or you may not read it.
      EnvironmentFailure: the checkpoint is damaged; a file of the repository is another than `vaeflow push`
        wrote, or the hub cannot be reached.
    """
    if repository.is_address(workdir):
        return _load_published(workdir, checkpoint, plugins)
    config.load_trained("train", workdir, plugins=plugins)
    return restore(workdir, checkpoint, tf.distribute.get_strategy, has_data=False).model


def _load_published(address, checkpoint, plugins):
    snapshot = repository.fetch_model(address)
    step = snapshot.manifest.step
    # Of the cached folder only what the manifest names is verified.
    if str(checkpoint) not in ("best", "last", str(step)):
        raise ConfigurationError(
            f"{address} holds the checkpoint of step {step} alone, and not {checkpoint}; leave `checkpoint` "
            "out"
        )
    configuration = config.load_trained("train", snapshot.folder, plugins=plugins)
    for binding in configuration.bindings:
        if binding.name and issubclass(_class_of(binding.name), FrozenNet):
            raise ConfigurationError(
                f"the model of {address} reads a file that is not in the repository ({binding.name}, "
                f"{binding.location}); fetch it with `vaeflow pull`, and load the folder if you trust that "
                "file"
            )
    return restore(snapshot.folder, str(step), tf.distribute.get_strategy, has_data=False).model


def _class_of(name):
    target = registry.get(name).target
    return target if isinstance(target, type) else type(None)


def share_cores(batch_size=None):
    """Lets the cores of a CPU work on an example each, as in training; call it before `restore`.

    Args:
      batch_size: the global batch size of what follows; None for that of the configuration in force.
    """
    own = config.values_of("train")["batch_size"]
    cores.divide(own if batch_size is None else batch_size, "none")


def restore(workdir, checkpoint="best", strategy=strategies.mirrored, has_data=True):
    """Makes the model of the configuration in force and gives it the weights of a checkpoint.

    Args:
      workdir: the work folder, whose configuration is in force (`config.load_trained`).
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      strategy: makes the distribution strategy.
      has_data: False to leave the dataset out, which may ask for files that are not on this machine.

    Returns:
      A `Trained`.

    Raises:
      ConfigurationError: there is no such checkpoint, or it is of another model.
      EnvironmentFailure: the checkpoint is damaged.
    """
    graph_rewrites.choose()
    given = config.values_of("train", _FOR_TRAINING if has_data else ("dataset", *_FOR_TRAINING))
    if has_data:
        making.check_dataset(given["dataset"])
    watchdog.configure(workdir, taken_from(RunSettings, given).longest_stall)
    folder = WorkDir(workdir)
    store = CheckpointStore(folder.checkpoints)
    step = store.find(checkpoint)
    record = store.record(step)
    if record.get("image_shape") is None:
        raise EnvironmentFailure(
            f"{store.path(step)}/record.json does not hold the 'image_shape' of the model; choose a "
            "checkpoint that `vaeflow train` has written"
        )
    image_shape = tuple(record["image_shape"])
    made_strategy = making.make("strategy", strategy, tf.distribute.Strategy)
    with config.values_checked(), making.precision(given["precision"]), made_strategy.scope():
        model: Any = making.make("train.model", given["model"], Model)
        # At the end of time, where a model in use is, any length will do.
        making.follow_run(model, None, given["num_steps"] or max(1, step))
        model.build((None, *image_shape))
        # For the averages, which frozen weights have none of.
        frozen = validation.texts("train.frozen", given["frozen"])
        frozen_blocks.freeze(model, weight_names.chosen_variables(model, frozen, "train.frozen"))
    frozen_files.check(store.path(step), record, frozen_blocks.files(model))
    _assign_weights(model, store, step)
    num_replicas = made_strategy.num_replicas_in_sync
    return Trained(
        model=model,
        dataset=given.get("dataset"),
        strategy=made_strategy,
        workdir=folder,
        checkpoint=store.path(step),
        step=step,
        metrics=record["metrics"],
        image_shape=image_shape,
        batch_size=-(-given["batch_size"] // num_replicas) * num_replicas,
        settings=given,
    )


def _assign_weights(model, store, step):
    weights = store.read_weights(step)
    _assign(frozen_blocks.without(model, model.variables), weights["model"], store.path(step))
    if weights["averages"]:
        _assign(model.averaged_variables(), weights["averages"], store.path(step))


def _assign(variables, arrays, path):
    expected = [tuple(variable.shape) for variable in variables]
    found = [array.shape for array in arrays]
    if expected != found:
        differing = [pair for pair in zip(expected, found, strict=False) if pair[0] != pair[1]]
        if len(found) != len(expected):
            differing = []
        detail = (
            f"a weight of shape {differing[0][1]} where this model has {differing[0][0]}" if differing else ""
        )
        raise ConfigurationError(
            f"the checkpoint {path} is of another model than the configuration: it holds "
            f"{detail or f'{len(found)} weights, this model {len(expected)}'}; leave the model's bindings as "
            "they were in training"
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _size(shape):
    return " x ".join(map(str, shape))
