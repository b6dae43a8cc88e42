"""A run from its parts to its result: read `run` top to bottom."""

import contextlib
import math
import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vaeflow import callbacks as standard_callbacks
from vaeflow import config
from vaeflow.callbacks import Callback
from vaeflow.commands import assembly
from vaeflow.datasets import Dataset
from vaeflow.devices import cores, replicas
from vaeflow.devices.workers import Workers, check_port
from vaeflow.errors import ConfigurationError, EnvironmentFailure, TrainingDiverged, user_code
from vaeflow.models import frozen_blocks
from vaeflow.runs import data_record, failures, provenance
from vaeflow.runs.checkpoints import CheckpointStore
from vaeflow.runs.escaping import printable
from vaeflow.runs.finite import first_not_finite
from vaeflow.runs.initial_weights import from_record
from vaeflow.runs.metrics_log import PROGRESS
from vaeflow.runs.signals import StopRequest
from vaeflow.runs.time_limit import TimeLimit
from vaeflow.runs.watchdog import Watchdog
from vaeflow.runs.workdir import WorkDir
from vaeflow.training import initial_weights, run_loop
from vaeflow.training.settings import RunSettings, TrainingSettings


class Folder(NamedTuple):
    """The folder of a run, and the configuration that it is to hold.

    Attributes:
      path: of the work folder.
      configuration: the text of `config.gin`.
      operative_text: returns the text of `operative_config.gin`, once all is made.
      allow_change: whether to resume although the folder holds another configuration.
      plugins: the plug-in modules whose classes the configuration may name.
      parameters: returns the settings in force, once all is made; see `RunContext.parameters`.
    """

    path: str
    configuration: str
    operative_text: Callable[[], str]
    allow_change: bool = False
    plugins: tuple[str, ...] = ()
    parameters: Callable[[], dict[str, Any]] = dict


def run(
    make_parts: Callable[[], assembly.Parts],
    dataset: Dataset,
    folder: Folder,
    settings: tuple[RunSettings, TrainingSettings],
    callbacks: Sequence[Callback],
    workers: Workers | None,
) -> dict[str, Any]:
    """Trains, or resumes where the work folder's run was stopped.

    Args:
      make_parts: makes the strategy, the model and the optimizer, once the workers have
        met and the cores are shared out.
      dataset: a `Dataset`.
      folder: the `Folder`.
      settings: the `RunSettings` and the `TrainingSettings`.
      callbacks: a list of `Callback`s.
      workers: the workers of the run; None for this process alone.

    Returns:
      The content of `result.json`.

    Raises:
      ConfigurationError: the parts do not fit together; nothing was read or written.
      EnvironmentFailure: the disk or the data failed.
      TrainingDiverged: the loss or gradient is not finite.
      Preempted: a signal asked to stop, and the state is saved.
    """
    started = time.monotonic()
    plan, training = settings
    workdir = WorkDir(folder.path, writable=workers is None or workers.is_chief)
    source = type(dataset).__name__
    with contextlib.ExitStack() as stack:
        if workers is not None:
            check_port(workers)
        # Before anything is written, heartbeats included: another run may use the folder.
        stack.enter_context(workdir.claim())
        waits = plan.longest_stall, plan.start_seconds, plan.peer_seconds
        watchdog = stack.enter_context(Watchdog(workdir.path, workers, *waits))
        stack.enter_context(failures.readable_errors(watchdog, source, lambda: _has_checkpoint(workdir)))
        watchdog.wait_for_peers()
        cores.divide(training.batch_size // (1 if workers is None else workers.size), training.compile_mode)
        with config.values_checked(), failures.weights_checked():
            parts = make_parts()

        stop_request = stack.enter_context(StopRequest().listening())
        _prepare(callbacks, workdir, folder, parts.strategy, watchdog)
        begun = _has_begun(workdir)
        origin = None
        if not begun and plan.initial_weights is not None:  # Before the data is read, which may take long.
            origin = initial_weights.find(plan.initial_weights)
        if begun:
            workdir.check_configuration(folder.configuration, folder.allow_change)
        result = workdir.result()
        is_same = workdir.has_configuration(folder.configuration)
        if result is not None and _is_finished(result, plan.num_steps, is_same):
            return _said_finished(workdir, result)

        watchdog.progress(f"reading {source}")
        data = assembly.read_data(dataset)
        fingerprints = data.fingerprints()
        if begun:
            data_record.check(workdir.path, fingerprints, folder.allow_change)
        num_workers = 1 if workers is None else workers.size
        context = assembly.make_context(
            parts, data, settings, workdir, stop_request, folder.configuration, num_workers
        )
        if result is not None and _is_finished(result, context.num_steps, is_same):
            return _said_finished(workdir, result)
        if plan.max_seconds is not None:
            context.time_limit = TimeLimit(plan.max_seconds, started)
        _resume(context)
        if origin is not None:
            context.checkpoints.initial_weights = initial_weights.start(context.trainer, origin, plan)
        described = _described(context, folder, num_workers)
        context.parameters = folder.parameters()
        workdir.write_provenance(folder.configuration, folder.operative_text(), described)
        if workdir.writable:
            data_record.write(workdir.path, fingerprints)
        with run_loop.failures_told(context, callbacks):
            run_loop.train_to_end(context, callbacks, watchdog)
            result = _finish(context)
            run_loop.end(context, callbacks)
        return result


def default_callbacks() -> list[Callback]:
    """Makes the callbacks of a run that names none."""
    return [
        standard_callbacks.Progress(),
        standard_callbacks.Evaluation(),
        standard_callbacks.Images(),
        standard_callbacks.Summaries(),
        standard_callbacks.Checkpoints(),
    ]


def _prepare(callbacks, workdir, folder, strategy, watchdog):
    """Lets callbacks change the work folder before it is read, on the chief; the others wait."""
    preparing = [each for each in callbacks if type(each).before_resume is not Callback.before_resume]
    if not preparing:
        return
    watchdog.progress("the wait for the first worker, which prepares the work folder", math.inf)
    if workdir.writable:
        for callback in preparing:
            watchdog.progress(f"{type(callback).__name__} before the start")
            with user_code.running(callback, "before_resume"):
                callback.before_resume(workdir, folder.configuration, folder.allow_change)
    replicas.mean_over_workers(strategy, 0)


def _has_checkpoint(workdir):
    return any(workdir.checkpoints.glob("step-*"))


def _has_begun(workdir):
    """Whether the folder's configuration binds: one that failed before it saved anything does not."""
    return bool(CheckpointStore(workdir.checkpoints).steps()) or (workdir.path / "result.json").exists()


def _is_finished(result, num_steps, is_same):
    """Whether a run with a result has nothing to do.

    Args:
      result: the content of its `result.json`.
      num_steps: the number of steps to train; None if only the data will say.
      is_same: whether the folder's configuration is the one that is asked for: with another, a run that a
        callback has ended may go on.
    """
    ended_early = is_same and "ended_by" in result
    return ended_early or (num_steps is not None and result["step"] >= num_steps)


def _said_finished(workdir, result):
    """Says that a run is finished; returns its result."""
    print(printable(f"this run is finished: {workdir.path}/result.json is of step {result['step']}"))
    return result


def _resume(run):
    """Restores the newest intact checkpoint, if there is one."""
    record = run.checkpoints.restore(run.trainer.checkpoint())
    _check_agreement(run, 0 if record is None else record["step"])
    if record is None:
        if (run.workdir.path / "result.json").exists():
            raise ConfigurationError(f"{run.workdir.path} holds a result but no checkpoint to go on from")
        run.workdir.start_metrics(0)
        return
    run.checkpoints.initial_weights = from_record(record)
    run.states = record.get("callbacks", {})
    run.trainer.resume_at(record["step"], record["totals"])
    run.facts["resumed"] = f"at step {record['step']}"
    # The line of a loop whose totals were saved is still to be written, or is written again.
    run.workdir.start_metrics(record["step"] - (1 if record["totals"].num_steps else 0), record["log"])
    for line in run.workdir.read_metrics():
        run.metrics.update(line)


def _check_agreement(run, step):
    """Refuses to go on when the workers have read different checkpoints."""
    mean = replicas.mean_over_workers(run.trainer.strategy, step)
    if mean != step:
        raise EnvironmentFailure(
            f"this worker resumes at step {step}, others elsewhere (the mean is {mean:g}): they do not "
            f"see the same checkpoints; put {run.workdir.path} on a disk that all workers share"
        )
    for each in frozen_blocks.files(run.trainer.model):
        _check_same_on_workers(run, each.sha256, each.file)


def _described(run, folder, num_workers):
    """Returns what `environment.json` says of a run; adds what it started from to its header."""
    taken = run.checkpoints.initial_weights
    if taken is not None:
        _check_same_on_workers(run, taken.weights_sha256, f"weights of {taken.run}")
        run.facts["initial weights"] = initial_weights.described(taken)
    return {
        **run.facts,
        "placement": assembly.placement(run, num_workers),
        "resumed_at": run.step,
        "plugins": list(folder.plugins),
        "code_sha256": provenance.code_digests(folder.plugins),
        "initial_weights": None if taken is None else taken.to_json(),
    }


def _check_same_on_workers(run, sha256, what):
    """Refuses to go on when the workers have read different content."""
    number = int(sha256[:12], 16)  # Exact as a float.
    if replicas.mean_over_workers(run.trainer.strategy, number) != number:
        raise EnvironmentFailure(
            f"this worker has read {what} with the SHA-256 {sha256}, others something else; "
            "give all workers the same"
        )


def _finish(run):
    """Writes `result.json` and prints where everything is."""
    model = run.trainer.model
    early = {} if run.ended_by is None else {"ended_by": run.ended_by}
    if run.restored_step is not None:
        run.metrics = _restored(run)
        early["restored_step"] = run.restored_step
    weights = frozen_blocks.without(model, model.weights)
    if bad := first_not_finite((weight.path, weight.numpy()) for weight in weights):
        raise TrainingDiverged(
            f"training diverged: after step {run.step}, the weights {bad} are not finite; "
            "nothing of it is saved. Try a lower learning rate or `train.gradient_clip_norm`"
        )
    result = {
        **{name: value for name, value in run.metrics.items() if math.isfinite(value)},
        "step": run.step,
        "num_replicas": run.trainer.strategy.num_replicas_in_sync,
        "weights_sha256": assembly.weights_digest(model),
        **early,
    }
    if not run.workdir.writable:
        return result
    run.workdir.write_json("result.json", result)
    lines = [f"checkpoints  {run.workdir.checkpoints}"]
    if run.restored_step is not None:
        lines.append(f"weights      those of step {run.restored_step:,}")
    if run.workdir.images.exists():
        lines.append(f"images       {run.workdir.images}")
    lines.append(f"result       {run.workdir.path / 'result.json'}")
    lines.append(f"to see it    tensorboard --logdir {shlex.quote(str(run.workdir.path.parent))}")
    print(printable("\n".join(lines)))
    return result


def _restored(run):
    """Gives the model the weights of `run.restored_step`; returns the newest metrics as they were there."""
    store, step, model = run.checkpoints, run.restored_step, run.trainer.model
    # Until the first worker has saved all.
    replicas.mean_over_workers(run.trainer.strategy, 0)
    variables = frozen_blocks.without(model, model.variables)
    for variable, value in zip(variables, store.read_weights(step)["model"], strict=True):
        variable.assign(value)
    metrics: dict[str, float] = {}
    for line in run.workdir.read_metrics():
        if line["step"] <= step:
            metrics |= line
    return metrics | {name: run.metrics[name] for name in PROGRESS}
