"""Trains with workers that Ray places, on its cluster or on this machine."""

import contextlib
import math
import os
import pathlib
import sys
import threading
from collections.abc import Callable

from vaeflow import registry
from vaeflow.clusters import ray_connection
from vaeflow.clusters.ray_connection import ray
from vaeflow.errors import ConfigurationError, EnvironmentFailure, Preempted, TrainingDiverged
from vaeflow.runs import interpreter, json_files, program, watchdog
from vaeflow.runs.escaping import printable
from vaeflow.runs.signals import StopRequest

try:
    from ray.exceptions import RayActorError
    from ray.train import (
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
        UserCallback,
        WorkerGroupError,
    )
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from vaeflow.clusters import ray_backend
except ModuleNotFoundError as missing:
    raise ConfigurationError("Ray is not installed; pip install 'vaeflow[ray]'") from missing

_FINAL_ERRORS = {error.exit_code: error for error in (ConfigurationError, TrainingDiverged, Preempted)}
_POLL_SECONDS = 0.1

# Ray Train reads these from the command's environment, for itself and for the workers.
_SETTINGS = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    # It offers the workers to save before a machine is taken away, which they never ask for.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


class RayCluster:
    """Trains with several workers of Ray Train, which find each other through `TF_CONFIG`.

    Ray starts the workers, restarts all of them when one fails, and passes on their
    reports. Every start resumes from the last checkpoint in the work folder, as any command
    does, so Ray copies no weights and keeps only its own notes in `<workdir>/ray`.

    Every machine needs the same version of this package, and the current folder and the
    work folder at the same paths, on a shared disk.

    Args:
      train: the function that each worker calls, `train(arguments, extra_callbacks)`, where
        `extra_callbacks` is a list of callbacks; it returns the exit code, and the reason if that is
        not 0. Other processes must be able to import it.
      num_workers: the number of workers.
      gpus_per_worker: the number of GPUs per worker; 0 trains on the CPU.
      max_failures: how often Ray restarts the workers after a failure. A bad configuration
        and a diverged training would only fail again, and end the job.
      address: the address of a cluster, e.g. `"auto"` on one of its machines; `"local"`
        starts a cluster here that ends with the job.
    """

    def __init__(
        self,
        train: Callable[..., tuple[int, str | None]],
        num_workers: int,
        gpus_per_worker: int = 0,
        max_failures: int = 3,
        address: str = "local",
    ) -> None:
        self._train = train
        self._num_workers = num_workers
        self._gpus_per_worker = gpus_per_worker
        self._max_failures = max_failures
        self._address = address

    def run(self, arguments: list[str], workdir: str) -> int:
        """Runs the job to its end; call it in the main thread.

        The first signal asks the workers to stop with their state saved; the second ends them
        at once, as it ends this process.

        Args:
          arguments: passed to `train`.
          workdir: the work folder.

        Returns:
          The exit code, 0.

        Raises:
          ConfigurationError: a setting is wrong, or there is no such cluster.
          TrainingDiverged: the loss or gradient is not finite.
          Preempted: a signal asked to stop, and the state is saved.
          EnvironmentFailure: the workers failed more than `max_failures` times.
        """
        watchdog.progress("the run of the workers, which have watchdogs of their own", math.inf)
        with self._connected():
            job = ray.remote(Job).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
            fitting = _Fitting(self._trainer(job, arguments, workdir))
            _wait(fitting, job)
            if end := ray.get(job.end_so_far.remote()):
                code, reason = end
                raise _FINAL_ERRORS[code](reason)
            if isinstance(fitting.error, WorkerGroupError):
                raise EnvironmentFailure(
                    f"{_describe(fitting.error.worker_failures)}, after {self._max_failures} restarts; run "
                    "the same command to resume from the last checkpoint"
                ) from fitting.error
            if fitting.error is not None:
                raise fitting.error
        return 0

    @contextlib.contextmanager
    def _connected(self):
        settings = {}
        if self._address == "local":
            # Ray only counts processors; the workers share the existing ones.
            num_cpus = max(os.cpu_count() or 1, self._num_workers)
            settings = {"num_cpus": num_cpus, "include_dashboard": False}
        with ray_connection.connected(
            self._address, f"--address={self._address}", "leave the flag out", **settings
        ):
            self._check_gpus()
            yield

    def _check_gpus(self):
        wanted = self._num_workers * self._gpus_per_worker
        found = int(ray.cluster_resources().get("GPU", 0))
        # A remote cluster may grow on demand.
        if self._address == "local" and found < wanted:
            raise ConfigurationError(
                f"--num_workers={self._num_workers} with --gpus_per_worker={self._gpus_per_worker} needs "
                f"{wanted} GPUs, and this machine has {found}"
            )

    def _trainer(self, job, arguments, workdir):
        os.environ |= _SETTINGS
        return DataParallelTrainer(
            _work,
            train_loop_config={
                "train": self._train,
                "arguments": arguments,
                "folder": str(pathlib.Path.cwd()),
                "job": job,
            },
            backend_config=ray_backend.Tensorflow(),
            scaling_config=ScalingConfig(
                num_workers=self._num_workers,
                use_gpu=self._gpus_per_worker > 0,
                resources_per_worker={"CPU": 1, "GPU": self._gpus_per_worker},
            ),
            run_config=RunConfig(
                name="ray",
                storage_path=str(pathlib.Path(workdir).absolute()),
                failure_config=FailureConfig(max_failures=self._max_failures),
                callbacks=[Results(program.current.name)],
                logging_config=LoggingConfig(log_level="WARNING"),
            ),
        )


class Job:
    """The state that the command and its workers share; a Ray actor."""

    def __init__(self):
        self._stop_signal = None
        self._end = None

    def stop(self, name):
        """Asks the workers to save and stop; `name` is the name of the signal."""
        self._stop_signal = name

    def stop_signal(self):
        """Returns the signal that asked the workers to stop, or None."""
        return self._stop_signal

    def end(self, code, reason):
        """Records that a restart would not help: the exit code, and the reason."""
        self._end = self._end or (code, reason)

    def end_so_far(self):
        """Returns what `end` recorded first, or None."""
        return self._end


class Results(UserCallback):
    """Prints the reports of the chief as lines of JSON, which Ray passes to the command's stdout."""

    def __init__(self, program_name):
        self._program_name = program_name

    def after_report(self, run_context, metrics, checkpoint):  # noqa: ARG002 -- Ray's signature
        """Prints the metrics of the chief."""
        print(json_files.dumps(metrics[0]), flush=True)

    def after_exception(self, run_context, worker_exceptions):  # noqa: ARG002 -- Ray's signature
        """Says why workers failed."""
        text = printable(f"{self._program_name}: {_describe(worker_exceptions)}")
        print(text, file=sys.stderr, flush=True)


def _work(settings):
    if ray.get(settings["job"].end_so_far.remote()):
        return  # Ray restarts the workers after any failure.
    interpreter.leave_folder(settings["folder"])
    # Only here: the other processes of Ray start sooner without TensorFlow.
    registry.load_builtins()
    from vaeflow.clusters import ray_worker

    ray_worker.work(**settings)


class _Fitting(threading.Thread):
    """Runs a trainer in a thread, so that it does not touch the signal handlers.

    Attributes:
      error: the exception that ended it, or None.
    """

    def __init__(self, trainer):
        super().__init__(daemon=True)
        self._trainer = trainer
        self.error = None
        self.start()

    def run(self):
        try:
            self._trainer.fit()
        except Exception as error:
            self.error = error


def _wait(fitting, job):
    """Waits for the end, and passes a signal on."""
    told = False
    with StopRequest().listening() as request:
        while fitting.is_alive():
            fitting.join(_POLL_SECONDS)
            if request.name and not told:
                job.stop.remote(request.name)
                told = True


def _describe(failures):
    """Returns one line that says why workers failed: {index: exception}."""
    workers = {}
    for index, failure in failures.items():
        workers.setdefault(_reason(failure), []).append(str(index))
    return "; ".join(f"worker {' and '.join(found)} failed: {reason}" for reason, found in workers.items())


def _reason(error):
    if isinstance(getattr(error, "health_check_failure", None), RayActorError):
        return "its process died"
    return ray_connection.first_line(error)
