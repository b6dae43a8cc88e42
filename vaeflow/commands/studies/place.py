"""Where the runs of a study are carried out: the interface of `study.place`."""

import abc
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence

from vaeflow.commands.studies.plan import PlannedRun
from vaeflow.runs.signals import StopRequest

STOP_NOTICE = "the runs under way save their state and stop; a second signal stops them at once"


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done for one run: commands of vaeflow, each in a fresh process, one after another.

    The first that ends with another code than 0 is the last. All of it can be pickled.

    Attributes:
      run: the run.
      commands: each as its arguments, e.g. `("train", "--gin_file=my.gin", "--workdir=…")`;
        `interpreter.command("vaeflow", *arguments)` makes a command line of it.
      folder: the work folder of the run.
      log: the file that gets all output of the commands, after what it holds already.
    """

    run: PlannedRun
    commands: tuple[tuple[str, ...], ...]
    folder: str
    log: str


@dataclasses.dataclass(frozen=True)
class JobEnd:
    """How a job ended.

    Attributes:
      job: the job.
      exit_code: of the last command; 128 + n if signal n killed it.
      message: the message of the command that failed or was stopped; empty if all finished.
      seconds: how long the job took.
    """

    job: Job
    exit_code: int
    message: str
    seconds: float


class Place(abc.ABC):
    """Where the runs of a study are carried out; in gin `study.place = @Here()`."""

    @abc.abstractmethod
    def carry_out(
        self,
        jobs: Iterator[Job],
        cores_each: int | None,
        stop_request: StopRequest,
        watch: Callable[[Sequence[Job]], Collection[Job]],
    ) -> Iterator[JobEnd]:
        """Carries out jobs, several at a time if there is room for them; call it in the main thread.

        Args:
          jobs: taken one by one, each when there is room for it: a search makes the next one of the
            ends so far.
          cores_each: the CPU cores of each job; None for all of a machine.
          stop_request: once its `name` is set, no job is taken any more, and the first process of each
            job under way gets SIGTERM, once: a training then saves its state and ends with 42.
          watch: called about once a second with the jobs under way; returns those to be ended early,
            with SIGTERM too.

        Yields:
          The end of each job that was taken.

        Raises:
          ConfigurationError: the place cannot be used.
          EnvironmentFailure: it failed.
        """
