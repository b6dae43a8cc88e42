"""A run from its settings to its result: read `train` top to bottom."""

import functools
import hashlib
import json
import math

import keras
import tensorflow as tf

from vaeflow import callbacks as standard_callbacks
from vaeflow import config, distribute, registry, run_loop, validation
from vaeflow.callbacks import Callback, Run
from vaeflow.checkpoint import CheckpointStore
from vaeflow.datasets import Dataset, pipeline
from vaeflow.errors import ConfigurationError
from vaeflow.evaluation import Evaluator
from vaeflow.signals import StopRequest
from vaeflow.trainer import Trainer
from vaeflow.workdir import WorkDir

PRECISIONS = ("float32", "mixed_bfloat16", "float64")

_FLAG_ADVICE = {
    "workdir": "use the flag --workdir instead",
    "allow_config_change": "use the flag --allow_config_change instead",
}


@functools.partial(registry.command, refused=_FLAG_ADVICE)
def train(
    workdir,
    model,
    dataset,
    num_steps,
    batch_size,
    optimizer=keras.optimizers.Adam,
    strategy=distribute.mirrored,
    seed=0,
    precision="float32",
    steps_per_loop=100,
    compile_mode="auto",
    resident_data="auto",
    gradient_clip_norm=None,
    gradient_accumulation_steps=1,
    ema_decay=None,
    callbacks=None,
    allow_config_change=False,
):
    """Trains a model, or resumes where the work folder's run was stopped.

    Args:
      workdir: the folder of the run.
      model: makes the model, without arguments: a class, in gin `@BetaVAE`.
      dataset: a `Dataset`, in gin `@RenderedSprites()`.
      num_steps: the number of steps to train.
      batch_size: the global batch size.
      optimizer: makes the Keras optimizer, in gin `@Adam`.
      strategy: makes the distribution strategy, in gin `@mirrored`.
      seed: seeds initial weights, order of examples and noise.
      precision: `"float32"`, `"mixed_bfloat16"` or `"float64"`.
      steps_per_loop: steps between two returns to Python, at most; also how often
        metrics are logged.
      compile_mode: `"none"`, `"step"`, `"loop"` or `"auto"`; see `compile_modes`.
      resident_data: whether the training split is held on the devices: True, False,
        or `"auto"`, where it is an array of at most 1 GiB.
      gradient_clip_norm: the largest global norm of the gradient, or None.
      gradient_accumulation_steps: parts into which each replica cuts its examples,
        to save memory; the gradient is still that of the global batch.
      ema_decay: the decay of a moving average of the weights, with which the model
        is evaluated; None for none.
      callbacks: a list of `Callback`s; None for progress, evaluation, images,
        summaries and checkpoints as they come.
      allow_config_change: resume although the configuration differs.

    Returns:
      The content of `result.json`, a dict.

    Raises:
      ConfigurationError: a setting is wrong; nothing was read or written.
      EnvironmentFailure: the disk or the data failed.
      TrainingDiverged: the loss or gradient is not finite.
      Preempted: a signal asked to stop, and the state is saved.
    """
    with config.values_checked():
        _check_dataset(dataset)
        _check_settings(num_steps, batch_size, seed, steps_per_loop, precision, gradient_clip_norm, ema_decay)
        callbacks = _standard_callbacks() if callbacks is None else _checked_callbacks(callbacks)
        _set_up_keras(seed, precision)
        strategy = _make("strategy", strategy, tf.distribute.Strategy)
        with strategy.scope():
            built = (
                _make("model", model, keras.Model),
                _make("optimizer", optimizer, keras.optimizers.Optimizer),
            )

    folder = WorkDir(workdir)
    with folder.claim(), StopRequest().listening() as stop_request:
        configuration = config.text_in_force()
        folder.check_configuration(configuration, allow_config_change)
        if (result := folder.result()) and result["step"] >= num_steps:
            print(f"this run is finished: {folder.path}/result.json is of step {result['step']}")
            return result

        train_split = pipeline.read_split(dataset, "train")
        evaluation_split = pipeline.read_split(dataset, "evaluation")
        with config.values_checked():
            trainer = Trainer(
                *built,
                train_split,
                dataset.binarization,
                strategy,
                batch_size,
                seed=seed,
                steps_per_loop=steps_per_loop,
                compile_mode=compile_mode,
                resident_data=resident_data,
                gradient_clip_norm=gradient_clip_norm,
                gradient_accumulation_steps=gradient_accumulation_steps,
                ema_decay=ema_decay,
            )
        run = Run(
            trainer=trainer,
            evaluator=Evaluator(
                trainer.model, evaluation_split, dataset.binarization, strategy, batch_size, seed
            ),
            evaluation_split=evaluation_split,
            workdir=folder,
            checkpoints=CheckpointStore(folder.checkpoints),
            num_steps=num_steps,
            configuration=configuration,
            facts=_facts(dataset, train_split, evaluation_split, trainer, precision),
        )
        _resume(run)
        folder.write_provenance(configuration, config.operative_text(), run.facts)
        run_loop.train_to_end(run, callbacks, stop_request)
        return _finish(run)


def _check_settings(num_steps, batch_size, seed, steps_per_loop, precision, gradient_clip_norm, ema_decay):
    validation.positive_integer("train.num_steps", num_steps)
    validation.positive_integer("train.batch_size", batch_size)
    if validation.non_negative_integer("train.seed", seed) >= 2**32:
        raise ConfigurationError(f"`train.seed` must be below 2**32, got {seed}")
    validation.positive_integer("train.steps_per_loop", steps_per_loop)
    validation.one_of("train.precision", precision, PRECISIONS)
    if gradient_clip_norm is not None:
        validation.positive_number("train.gradient_clip_norm", gradient_clip_norm)
    if ema_decay is not None:
        validation.fraction("train.ema_decay", ema_decay)


def _check_dataset(dataset):
    if not isinstance(dataset, Dataset):
        raise ConfigurationError(
            f"`train.dataset` must be a Dataset, got {dataset!r}; in a gin file write "
            "train.dataset = @Name() with parentheses"
        )


def _checked_callbacks(callbacks):
    if isinstance(callbacks, (list, tuple)) and all(isinstance(each, Callback) for each in callbacks):
        return callbacks
    raise ConfigurationError(
        f"`train.callbacks` must be a list of Callbacks, got {callbacks!r}; in a gin file write "
        "train.callbacks = [@Progress(), @Checkpoints()] with brackets and parentheses"
    )


def _standard_callbacks():
    return [
        standard_callbacks.Progress(),
        standard_callbacks.Evaluation(),
        standard_callbacks.Images(),
        standard_callbacks.Summaries(),
        standard_callbacks.Checkpoints(),
    ]


def _set_up_keras(seed, precision):
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(precision)
    keras.config.set_floatx("float64" if precision == "float64" else "float32")


def _make(role, factory, expected):
    if not callable(factory) or isinstance(factory, expected):
        raise ConfigurationError(
            f"`train.{role}` must be a class or function, which is called when the devices are ready, got "
            f"{factory!r}; in a gin file write train.{role} = @Name without parentheses"
        )
    made = factory()
    if not isinstance(made, expected):
        raise ConfigurationError(f"`train.{role}` must make a {expected.__name__}, it made {made!r}")
    return made


def _facts(dataset, train_split, evaluation_split, trainer, precision):
    """Describes the run for people: name -> text."""
    strategy = trainer.strategy
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    shape = " x ".join(map(str, train_split.shape))
    model = trainer.model
    num_replicas = strategy.num_replicas_in_sync
    return {
        "model": f"{type(model).__name__}, {model.count_params():,} weights, {model.num_latents} latents, "
        f"{precision}",
        "data": f"{type(dataset).__name__}, {train_split.num_examples:,} training and "
        f"{evaluation_split.num_examples:,} evaluation images of {shape}, {train_split.dtype}"
        + (", on the device" if trainer.resident else ", streamed"),
        "devices": f"{num_replicas} {kind} replica" + ("s" if num_replicas > 1 else ""),
        "batch": f"{trainer.batch_size} images, {trainer.batch_size // num_replicas} a replica",
        "compile mode": trainer.compile_mode,
    }


def _resume(run):
    """Restores the newest whole checkpoint, if there is one."""
    record = run.checkpoints.restore(run.trainer.checkpoint())
    if record is None:
        if (run.workdir.path / "result.json").exists():
            raise ConfigurationError(f"{run.workdir.path} holds a result but no checkpoint to go on from")
        run.workdir.start_metrics(0)
        return
    run.trainer.resume_at(record["step"])
    run.facts["resumed"] = f"at step {record['step']}"
    run.workdir.start_metrics(record["step"])
    for line in run.workdir.read_metrics():
        run.metrics.update(line)


def _finish(run):
    """Writes `result.json` and tells where everything is."""
    result = {
        **{name: value for name, value in run.metrics.items() if math.isfinite(value)},
        "step": run.step,
        "num_replicas": run.trainer.strategy.num_replicas_in_sync,
        "weights_sha256": weights_sha256(run.trainer.model.weights),
    }
    run.workdir.write_json("result.json", result)
    print(f"checkpoints  {run.workdir.checkpoints}")
    print(f"images       {run.workdir.images}")
    print(f"result       {run.workdir.path / 'result.json'}")
    print(f"to see it    tensorboard --logdir {run.workdir.path.parent}")
    return result


def weights_sha256(weights):
    """Returns the SHA-256 of weights: shape, dtype and bytes of each, in order."""
    digest = hashlib.sha256()
    for weight in weights:
        value = weight.numpy()
        digest.update(json.dumps([list(value.shape), value.dtype.name]).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
