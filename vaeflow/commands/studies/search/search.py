"""A search under way: makes runs of its trials, and gives Optuna what comes out."""

import contextlib
import dataclasses
import math
import pathlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from vaeflow import registry
from vaeflow.commands.studies import plan
from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.plan import PlannedRun
from vaeflow.errors import FINAL_ENDS, ConfigurationError
from vaeflow.runs.workdir import WorkDir

if TYPE_CHECKING:
    from vaeflow.commands.studies.search.trials import Trial, Trials

ABANDONED = "its values were worse than those of other trials"
# A line of the log with a figure of an evaluation has all figures of that evaluation.
_EVALUATIONS = ("evaluation/", "validation/")


@dataclasses.dataclass
class _Open:
    """A trial under way.

    Attributes:
      trial: the trial.
      runs: its runs, one for each seed.
      started: how many of them were handed out.
      outcomes: of those that ended.
    """

    trial: "Trial"
    runs: list[PlannedRun]
    started: int = 0
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)

    @property
    def goes_on(self) -> bool:
        """Whether its further seeds are worth their time."""
        return not self.trial.is_abandoned and all(each.state == "done" for each in self.outcomes)


class Search:
    """A search under way in this process; see `OptunaSearch`.

    Args:
      trials: its trials.
      num_trials: how many there will be.
      metric: the name of the figure that is compared.
      seeds: of the runs of each trial.
      read: returns those of some settings that a run with all of them reads.
    """

    def __init__(
        self,
        trials: "Trials",
        num_trials: int,
        metric: str,
        seeds: Sequence[int],
        read: Callable[[dict[str, str]], dict[str, str]],
    ) -> None:
        self._trials = trials
        self._num_trials = num_trials
        self._metric = metric
        self._seeds = seeds
        self._read = read
        self._open: dict[int, _Open] = {}
        self._sizes: dict[str, int] = {}

    @property
    def num_runs(self) -> int:
        """The number of runs of all trials."""
        return self._num_trials * len(self._seeds)

    def runs(self) -> Iterator[PlannedRun]:
        """Yields the runs of one trial after the other, each trial proposed from the outcomes so far."""
        while (trial := self._trials.next(self._num_trials)) is not None:
            opened = _Open(trial, self._planned(trial.number, trial.settings))
            self._open[trial.number] = opened
            for run in opened.runs:
                if opened.goes_on:
                    opened.started += 1
                    yield run
            self._end(opened)

    def all_runs(self) -> list[tuple[PlannedRun, bool]]:
        """Lists the runs of all trials so far, of all processes, and whether those not done are given up."""
        return [
            (run, state in ("pruned", "fail"))
            for number, (state, settings) in self._trials.known().items()
            for run in self._planned(number, settings)
        ]

    def is_abandoned(self, run: PlannedRun, folder: pathlib.Path) -> bool:
        """Reports what a run has logged since the last call, and returns whether it shall be ended early.

        Args:
          run: a run under way.
          folder: its work folder.

        Raises:
          ConfigurationError: evaluations do not hold the metric.
        """
        opened = self._open.get(run.index)
        if opened is None:
            return False
        # The other seeds get as far as the first.
        if run.seed == self._seeds[0]:
            with contextlib.suppress(FileNotFoundError):
                size = (folder / "metrics.jsonl").stat().st_size
                if size != self._sizes.get(run.name):
                    self._sizes[run.name] = size
                    opened.trial.report(self._logged(run, folder))
        return opened.trial.is_abandoned

    def settle(self, outcome: Outcome, folder: pathlib.Path) -> Outcome:
        """Takes the outcome of a run; the last of a trial ends it.

        Args:
          outcome: of a run that `runs` yielded.
          folder: its work folder.

        Returns:
          The outcome, as abandoned if the search has ended it.

        Raises:
          ConfigurationError: the record of a finished run does not hold the metric.
        """
        opened = self._open[outcome.run.index]
        if outcome.state == "done" and outcome.run.seed == self._seeds[0]:
            opened.trial.report(self._logged(outcome.run, folder), is_running=False)
        if outcome.state == "stopped" and opened.trial.is_abandoned:
            outcome = dataclasses.replace(outcome, state="abandoned", message=ABANDONED)
        opened.outcomes.append(outcome)
        self._end(opened)
        return outcome

    def _end(self, opened: _Open) -> None:
        """Ends a trial if nothing of it is under way or to come."""
        ended = len(opened.outcomes)
        if ended < opened.started or (opened.goes_on and ended < len(opened.runs)):
            return
        if self._open.pop(opened.trial.number, None) is None:
            return
        states = {each.state for each in opened.outcomes}
        if any(each.state == "failed" and each.exit_code in FINAL_ENDS for each in opened.outcomes):
            opened.trial.fail()
        elif states == {"done"} and ended == len(opened.runs):
            opened.trial.complete(statistics.fmean(map(self._value, opened.outcomes)))
        elif opened.trial.is_abandoned:
            opened.trial.abandon()
        else:
            opened.trial.leave()

    def _planned(self, number: int, settings: dict[str, str]) -> list[PlannedRun]:
        read = self._read(settings)
        return [plan.planned_run(number, read, seed) for seed in self._seeds]

    def _logged(self, run: PlannedRun, folder: pathlib.Path) -> dict[int, float]:
        """Returns the values of the metric in a run's log: step -> value."""
        lines = WorkDir(folder).read_metrics()
        values = {int(line["step"]): line[self._metric] for line in lines if self._metric in line}
        if not values and self._metric.startswith(_EVALUATIONS):
            evaluated = [name for line in lines for name in line if name.startswith(_EVALUATIONS)]
            if evaluated:
                raise self._unknown(f"the log of {run.name}", evaluated)
        return values

    def _value(self, outcome: Outcome) -> float:
        """Returns the metric of a finished run."""
        record = outcome.record or {}
        figures = {**((record.get("evaluation") or {}).get("metrics") or {}), **record["metrics"]}
        if self._metric not in figures:
            raise self._unknown(f"the record of {outcome.run.name}", list(figures))
        value = figures[self._metric]
        return math.nan if value is None else float(value)

    def _unknown(self, place: str, names: list[str]) -> ConfigurationError:
        names = list(dict.fromkeys(names))
        near = registry.did_you_mean(self._metric, names)
        return ConfigurationError(
            f"{place} holds no `OptunaSearch.metric` = {self._metric!r}"
            f"{near or '; it holds ' + ', '.join(names)}"
        )
