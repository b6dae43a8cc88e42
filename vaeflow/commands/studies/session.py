"""Carries out the runs of a study that are not done yet: read `Session.run` top to bottom."""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from vaeflow.commands.studies.configurations import Configured, Source
from vaeflow.commands.studies.earlier import Earlier, Found
from vaeflow.commands.studies.folder import StudyFolder
from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.place import STOP_NOTICE, Job, JobEnd, Place
from vaeflow.commands.studies.progress import StudyProgress
from vaeflow.devices.slurm_array import Part
from vaeflow.errors import FINAL_ENDS, FINISHED, EnvironmentFailure, Preempted, RunError
from vaeflow.runs import json_files, paths, record
from vaeflow.runs.signals import StopRequest

# What a signal that arrives before a process can answer it, or in another command than `train`, ends with.
_STOPPED = frozenset({Preempted.exit_code, 129, 130, 143})


@dataclasses.dataclass(frozen=True)
class Way:
    """How a study is carried out.

    Attributes:
      place: where.
      cores_each: the CPU cores of each run; None for all.
      part: the part of the runs that this process carries out; None for all.
      retry: whether runs that failed for good are run again.
    """

    place: Place
    cores_each: int | None
    part: Part | None
    retry: bool


class Session:
    """One start of a study.

    Args:
      folder: of the study.
      earlier: what there is of its runs.
      plugin_flags: the flags that name the plug-ins of all runs.
      way: how it is carried out.
      tell: called with the outcomes of all runs, in the order of the plan, after each run that is done.
    """

    def __init__(
        self,
        folder: StudyFolder,
        earlier: Earlier,
        plugin_flags: tuple[str, ...],
        way: Way,
        tell: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._folder = folder
        self._earlier = earlier
        self._plugin_flags = plugin_flags
        self._way = way
        self._tell = tell
        self._by_name = {run.name: run for run in earlier.runs}
        self._outcomes = {run.name: self._outcome_so_far(run) for run in earlier.runs}

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes of all runs, in the order of the plan."""
        return list(self._outcomes.values())

    @property
    def own_outcomes(self) -> list[Outcome]:
        """Those of the runs of this part."""
        return [self._outcomes[run.name] for run in self._own()]

    def folder(self, name: str) -> pathlib.Path:
        """Returns the work folder of a run, whether it is there or not.

        Raises:
          EnvironmentFailure: it is a link that leads out of the study's folder.
        """
        found = self._earlier.of(self._by_name[name]).folder
        return paths.inside(self._folder.path, self._folder.runs.name, name if found is None else found.name)

    @property
    def others(self) -> list[str]:
        """The names of work folders and records that are of no run of the study."""
        return self._earlier.others

    def stale(self) -> list[str]:
        """Returns the names of runs whose record lacks what `study.after` asks for now."""
        records = {name: outcome.record for name, outcome in self._outcomes.items() if outcome.record}
        return [name for name, record in records.items() if _left_of(record, self._by_name[name])]

    def run(self) -> int:
        """Carries out what is not done; call it in the main thread.

        Returns:
          The exit code: 0 if all runs of this part are done; 42 if a signal stopped the study; else the
          code of the first run that failed for good, or of the first that failed.
        """
        num_done = sum(outcome.state == "done" for outcome in self.outcomes)
        stop_request = StopRequest()
        with (
            StudyProgress(self._num_runs(), num_done, self._num_left()) as progress,
            stop_request.listening(STOP_NOTICE),
        ):

            def watch(running: Sequence[Job]) -> Collection[Job]:
                progress.show(running)
                return self._unwanted(running)

            jobs = self._jobs(self._left(), progress)
            for end in self._way.place.carry_out(jobs, self._way.cores_each, stop_request, watch):
                self._conclude(end, progress)
        return Preempted.exit_code if stop_request.name else self._exit_code()

    def _own(self) -> list[Configured]:
        """Returns the runs of this part."""
        part = self._way.part
        return self._earlier.runs if part is None else self._earlier.runs[part.index :: part.count]

    def _left(self) -> Iterator[Configured]:
        """Yields the runs to carry out."""
        return (run for run in self._own() if self._is_to_be_run(self._outcomes[run.name]))

    def _num_left(self) -> int:
        return len(list(self._left()))

    def _num_runs(self) -> int:
        return len(self._by_name)

    def _unwanted(self, running: Sequence[Job]) -> Collection[Job]:  # noqa: ARG002 -- for a search
        """Returns the jobs under way that are to be ended early."""
        return ()

    def _is_to_be_run(self, outcome: Outcome) -> bool:
        if outcome.state == "failed":
            return self._way.retry or outcome.exit_code not in FINAL_ENDS
        return outcome.state != "done"

    def _outcome_so_far(self, run: Configured) -> Outcome:
        found = self._earlier.of(run)
        if found.record is not None and (found.folder is None or not _left_of(found.record, run)):
            return Outcome(run.run, "done", found.record, "", FINISHED, found.record["seconds"])
        failure = self._folder.failure(run.name, run.trained)
        if failure is not None:
            return Outcome(run.run, "failed", None, **failure)
        if found.folder is not None:
            return Outcome(run.run, "stopped", None, "begun, and not done yet")
        return Outcome(run.run, "missing")

    def _jobs(self, runs: Iterable[Configured], progress: StudyProgress) -> Iterator[Job]:
        """Yields the jobs of runs, each made when it is asked for."""
        for run in runs:
            job = self._job(run)
            if job.commands:
                yield job
            else:  # Only the record is missing.
                self._conclude(JobEnd(job, FINISHED, "", 0.0), progress)

    def _job(self, run: Configured) -> Job:
        """Makes the job of a run: what is left of its training, and the commands after it."""
        self._folder.forget_failure(run.name)
        found = self._earlier.of(run)
        target = f"--workdir={self.folder(run.name)}"
        commands = [] if found.is_finished else [_training(found, target, run, self._plugin_flags)]
        commands += [(command, target, *run.flags[command]) for command in _left_of(found.record, run)]
        folder = target.partition("=")[2]
        return Job(run.run, tuple(commands), folder, str(self._folder.log(run.name)))

    def _conclude(self, end: JobEnd, progress: StudyProgress) -> None:
        outcome = self._outcomes[end.job.run.name] = self._outcome(end)
        progress.end(outcome, end.job.log)
        if outcome.state == "done":
            self._tell(self.outcomes)

    def _outcome(self, end: JobEnd) -> Outcome:
        """Records a run that has finished; writes down how another one failed."""
        run = self._by_name[end.job.run.name]
        code, message = end.exit_code, end.message
        if code == FINISHED:
            try:
                return self._record(run, end.job.folder)
            except RunError as error:
                code, message = error.exit_code, str(error)
        if code in _STOPPED:
            return Outcome(run.run, "stopped", None, message, code, end.seconds)
        self._folder.remember_failure(run.name, run.trained, code, message, end.seconds)
        return Outcome(run.run, "failed", None, message, code, end.seconds)

    def _record(self, run: Configured, folder: str) -> Outcome:
        known = (self._earlier.of(run).record or {}).get("after", {})
        path = record.write(folder, str(self._folder.results), run.name, {"after": {**known, **run.after}})
        try:
            content = json_files.read(path, {"seconds": json_files.NUMBER})
        except (OSError, ValueError) as error:
            raise EnvironmentFailure(f"the record {path} cannot be read: {error}") from error
        return Outcome(run.run, "done", content, "", FINISHED, content["seconds"])

    def _exit_code(self) -> int:
        ended = self.own_outcomes
        failed = [each.exit_code for each in ended if each.state == "failed" and each.exit_code is not None]
        final = [code for code in failed if code in FINAL_ENDS]
        stopped = [Preempted.exit_code for each in ended if each.state not in ("done", "abandoned")]
        return next(iter([*final, *failed, *stopped]), FINISHED)


def _training(found: Found, target: str, run: Configured, plugin_flags: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the command that trains, or resumes with the folder's own configuration.

    That may differ from the plan in the settings of other commands, which a training does not read.
    """
    if found.folder is not None and not found.as_planned:
        return ("train", target, *plugin_flags)
    return ("train", *run.flags["train"], target)


def _left_of(content: dict | None, run: Configured) -> list[str]:
    """Returns the commands after a run that its record does not hold with these settings."""
    if content is None:
        return list(run.after)
    if "after" in content:
        return [command for command, lines in run.after.items() if content["after"].get(command) != lines]
    # `vaeflow record` has written it, which knows of the evaluation only.
    return [each for each in run.after if each != "evaluate" or content.get("evaluation") is None]


@dataclasses.dataclass(frozen=True)
class GridPlan:
    """The runs of a grid, checked.

    Attributes:
      runs: the runs.
      source: what the user has given.
    """

    runs: Sequence[Configured]
    source: Source

    def session(self, folder: StudyFolder, way: Way, tell: Callable[[Sequence[Outcome]], None]) -> Session:
        """Makes the session that carries them out; see `Session`."""
        earlier = Earlier(folder, self.runs, self.source.plugins)
        return Session(folder, earlier, self.source.plugin_flags, way, tell)
