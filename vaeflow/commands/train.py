"""A run from its settings to its result: read `train` top to bottom."""

import contextlib
import functools
import math

import tensorflow as tf

from vaeflow import callbacks as standard_callbacks
from vaeflow import config, registry, validation
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.callbacks import Callback, Run
from vaeflow.datasets import pipeline
from vaeflow.devices import cores, replicas, strategies
from vaeflow.devices.workers import check_port, find_workers
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.optimizers import Adam
from vaeflow.runs import failures
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.signals import StopRequest
from vaeflow.runs.watchdog import Watchdog
from vaeflow.runs.workdir import WorkDir
from vaeflow.training import run_loop, settings
from vaeflow.training.trainer import Trainer

_FLAG_ADVICE = {
    "workdir": "use the flag --workdir instead",
    "allow_config_change": "use the flag --allow_config_change instead",
    "watchers": "use `train.callbacks` instead",
}


@functools.partial(registry.command, refused=_FLAG_ADVICE)
def train(
    workdir,
    model,
    dataset,
    num_steps,
    batch_size,
    optimizer=Adam,
    strategy=strategies.automatic,
    seed=0,
    precision="float32",
    steps_per_loop=100,
    compile_mode="auto",
    resident_data="auto",
    gradient_clip_norm=None,
    gradient_accumulation_steps=1,
    ema_decay=None,
    callbacks=None,
    stall_seconds=900,
    start_seconds=120,
    peer_seconds=30,
    allow_config_change=False,
    watchers=(),
):
    """Trains a model, or resumes where the work folder's run was stopped.

    Args:
      workdir: the folder of the run.
      model: makes the model, without arguments: a class, in gin `@BetaVAE`.
      dataset: a `Dataset`, in gin `@RenderedSprites()`.
      num_steps: the number of steps to train.
      batch_size: the global batch size.
      optimizer: makes the Keras optimizer, in gin `@Adam`.
      strategy: makes the distribution strategy, in gin `@mirrored`; `automatic` takes
        the workers that `TF_CONFIG` or Slurm names, or this machine's devices.
      seed: seeds initial weights, order of examples and noise.
      precision: `"float32"`, `"mixed_bfloat16"` or `"float64"`.
      steps_per_loop: how often metrics are logged. So many steps are one call at most;
        where they take longer than some seconds they are several, for a signal is
        answered between calls.
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
      stall_seconds: a run that gets no further for so long, in one loop or between
        two, is taken for hung and ended; None to wait for ever.
      start_seconds: how long several workers wait for one another at the start.
      peer_seconds: a worker that is not heard of for so long is taken for lost, and the
        others end.
      allow_config_change: resume although the configuration differs.
      watchers: further callbacks, of the launcher: no part of the configuration.

    Returns:
      The content of `result.json`, a dict.

    Raises:
      ConfigurationError: a setting is wrong; nothing was read or written.
      EnvironmentFailure: the disk or the data failed.
      TrainingDiverged: the loss or gradient is not finite.
      Preempted: a signal asked to stop, and the state is saved.
    """
    with config.values_checked():
        settings.check_training(
            dataset, num_steps, batch_size, seed, steps_per_loop, precision, gradient_clip_norm, ema_decay
        )
        stall_seconds = math.inf if stall_seconds is None else stall_seconds
        validation.positive_number("train.stall_seconds", stall_seconds)
        validation.positive_number("train.start_seconds", start_seconds)
        validation.positive_number("train.peer_seconds", peer_seconds)
        callbacks = _standard_callbacks() if callbacks is None else _checked_callbacks(callbacks)
        callbacks = [*callbacks, *watchers]
    workers = find_workers()
    folder = WorkDir(workdir, writable=workers is None or workers.is_chief)
    source = type(dataset).__name__
    with contextlib.ExitStack() as stack:
        watchdog = stack.enter_context(
            Watchdog(folder.path, workers, stall_seconds, start_seconds, peer_seconds)
        )
        stack.enter_context(failures.readable_errors(watchdog, source))
        if workers is not None:
            check_port(workers)
        watchdog.wait_for_peers()
        cores.divide(batch_size // (1 if workers is None else workers.size), compile_mode)
        with config.values_checked():
            strategy, *built = settings.make_all(seed, precision, strategy, model, optimizer)

        stack.enter_context(folder.claim())
        stop_request = stack.enter_context(StopRequest().listening())
        configuration = config.text_in_force()
        folder.check_configuration(configuration, allow_config_change)
        if (result := folder.result()) and result["step"] >= num_steps:
            print(f"this run is finished: {folder.path}/result.json is of step {result['step']}")
            return result

        watchdog.progress(f"reading {source}")
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
            checkpoints=CheckpointStore(folder.checkpoints, image_shape=train_split.shape),
            stop_request=stop_request,
            num_steps=num_steps,
            configuration=configuration,
            source=source,
            facts=_facts(dataset, train_split, evaluation_split, trainer, precision, workers),
        )
        _resume(run)
        folder.write_provenance(configuration, config.operative_text(), run.facts)
        run_loop.train_to_end(run, callbacks, watchdog)
        return _finish(run)


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


def _facts(dataset, train_split, evaluation_split, trainer, precision, workers):
    """Describes the run for people: name -> text."""
    strategy = trainer.strategy
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    shape = " x ".join(map(str, train_split.shape))
    model = trainer.model
    num_replicas, num_parts = strategy.num_replicas_in_sync, trainer.replica_step.parallel_parts
    return {
        "model": f"{type(model).__name__}, {model.count_params():,} weights, {model.num_latents} latents, "
        f"{precision}",
        "data": f"{type(dataset).__name__}, {train_split.num_examples:,} training and "
        f"{evaluation_split.num_examples:,} evaluation images of {shape}, {train_split.dtype}"
        + (", on the device" if trainer.resident else ", streamed"),
        "devices": f"{num_replicas} {kind} replica"
        + ("s" if num_replicas > 1 else "")
        + ("" if workers is None else f" on {workers.size} workers"),
        "batch": f"{trainer.batch_size} images, {trainer.batch_size // num_replicas} a replica"
        + (f", in {num_parts} parts side by side" if num_parts > 1 else ""),
        "compile mode": trainer.compile_mode,
    }


def _resume(run):
    """Restores the newest whole checkpoint, if there is one."""
    record = run.checkpoints.restore(run.trainer.checkpoint())
    _check_agreement(run, 0 if record is None else record["step"])
    if record is None:
        if (run.workdir.path / "result.json").exists():
            raise ConfigurationError(f"{run.workdir.path} holds a result but no checkpoint to go on from")
        run.workdir.start_metrics(0)
        return
    run.trainer.resume_at(record["step"], record["totals"])
    run.facts["resumed"] = f"at step {record['step']}"
    run.workdir.start_metrics(record["step"])
    for line in run.workdir.read_metrics():
        run.metrics.update(line)


def _check_agreement(run, step):
    """Refuses to go on when the workers have read different checkpoints."""
    mean = replicas.mean_over_workers(run.trainer.strategy, step)
    if mean != step:
        raise EnvironmentFailure(
            f"this worker goes on at step {step}, another at another (their mean is {mean:g}): they do not "
            f"see the same checkpoints; put {run.workdir.path} on a disk that all workers share"
        )


def _finish(run):
    """Writes `result.json` and tells where everything is."""
    result = {
        **{name: value for name, value in run.metrics.items() if math.isfinite(value)},
        "step": run.step,
        "num_replicas": run.trainer.strategy.num_replicas_in_sync,
        "weights_sha256": weights_sha256(run.trainer.model.weights),
    }
    if not run.workdir.writable:
        return result
    run.workdir.write_json("result.json", result)
    print(f"checkpoints  {run.workdir.checkpoints}")
    if run.workdir.images.exists():
        print(f"images       {run.workdir.images}")
    print(f"result       {run.workdir.path / 'result.json'}")
    print(f"to see it    tensorboard --logdir {run.workdir.path.parent}")
    return result
