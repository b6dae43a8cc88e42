"""A study whose runs are proposed while it goes on."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from vaeflow.commands.studies.configurations import Configured, Source, configure, settings_read
from vaeflow.commands.studies.earlier import Earlier
from vaeflow.commands.studies.folder import StudyFolder
from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.place import Job, JobEnd
from vaeflow.commands.studies.plan import PlannedRun, planned_run
from vaeflow.commands.studies.search.optuna_search import OptunaSearch
from vaeflow.commands.studies.search.search import ABANDONED, Search
from vaeflow.commands.studies.search.space import Values, samples
from vaeflow.commands.studies.session import Session, Way
from vaeflow.errors import ConfigurationError, Preempted

_OVER = frozenset({"done", "failed", "abandoned"})


class SearchPlan:
    """What a study searches, checked.

    Args:
      search: the settings of the search.
      space: setting -> the values that it may take.
      seeds: of each trial.
      source: what the user has given.
      after: the commands on each finished run.

    Raises:
      ConfigurationError: a setting of the space is none of the runs', or a run is wrong otherwise.
    """

    def __init__(
        self,
        search: OptunaSearch,
        space: Mapping[str, Values],
        seeds: Sequence[int],
        source: Source,
        after: Sequence[str],
    ) -> None:
        self._search = search
        self._space = space
        self._seeds = seeds
        self._source = source
        self._configure = functools.partial(configure, source=source, after=after)
        self._read = functools.partial(settings_read, source=source)
        read = set[str]()
        for number, settings in enumerate(samples(space)):
            settings_of_run = self._read(settings)
            read |= settings_of_run.keys()
            self._configure(planned_run(number, settings_of_run, seeds[0]))
        if unread := [setting for setting in space if setting not in read]:
            raise ConfigurationError(f"`study.space` names `{unread[0]}`, which no run reads")

    def session(self, folder: StudyFolder, way: Way, tell: Callable[[Sequence[Outcome]], None]) -> Session:
        """Opens the search, and makes the session that carries it out; see `Session`."""
        if not folder.path.is_dir():
            raise ConfigurationError(f"there is no search in {folder.path} yet; start it without --table")
        search = self._search.begin(folder.path, self._space, self._seeds, self._read)
        runs = [self._configure(run) for run, _ in search.all_runs()]
        earlier = Earlier(folder, runs, self._source.plugins)
        return SearchSession(search, self._configure, folder, earlier, self._source.plugin_flags, way, tell)


class SearchSession(Session):
    """One start of a study that searches.

    Args:
      search: proposes the runs.
      configure: reads and checks the configuration of a run.
      folder, earlier, plugin_flags, way, tell: as for `Session`; `earlier` of the runs that the search
        has proposed so far.
    """

    def __init__(
        self,
        search: Search,
        configure: Callable[[PlannedRun], Configured],
        folder: StudyFolder,
        earlier: Earlier,
        plugin_flags: tuple[str, ...],
        way: Way,
        tell: Callable[[Sequence[Outcome]], None],
    ) -> None:
        super().__init__(folder, earlier, plugin_flags, way, tell)
        self._search = search
        self._configure = configure
        self._names = {(run.run.index, run.run.seed): run.name for run in earlier.runs}
        self._taken: list[str] = []
        self._update()

    @property
    def own_outcomes(self) -> list[Outcome]:
        """Those of the runs that this process has taken; all if it searches alone."""
        if self._way.part is None:
            return self.outcomes
        return [self._outcomes[name] for name in self._taken]

    def run(self) -> int:
        """Carries out trials until all are over or under way elsewhere; see `Session.run`."""
        code = super().run()
        self._update()
        return code

    def _num_runs(self) -> int:
        return self._search.num_runs

    def _num_left(self) -> int:
        return self._num_runs() - sum(outcome.state in _OVER for outcome in self.outcomes)

    def _left(self) -> Iterator[Configured]:
        for planned in self._search.runs():
            run = self._known(planned)
            self._taken.append(run.name)
            outcome = self._outcomes[run.name]
            if self._is_to_be_run(outcome):
                yield run
            else:
                self._outcomes[run.name] = self._search.settle(outcome, self.folder(run.name))

    def _unwanted(self, running: Sequence[Job]) -> Collection[Job]:
        return [job for job in running if self._search.is_abandoned(job.run, pathlib.Path(job.folder))]

    def _outcome(self, end: JobEnd) -> Outcome:
        return self._search.settle(super()._outcome(end), pathlib.Path(end.job.folder))

    def _known(self, planned: PlannedRun) -> Configured:
        """Returns the run of this study that a proposal is, a new one if need be."""
        key = planned.index, planned.seed
        if key not in self._names:
            run = self._earlier.add(self._configure(planned))
            self._outcomes[run.name] = self._outcome_of_twin(run) or self._outcome_so_far(run)
            self._by_name[run.name] = run
            self._names[key] = run.name
        return self._by_name[self._names[key]]

    def _outcome_of_twin(self, run: Configured) -> Outcome | None:
        """Returns the outcome of a run with the same settings, which is not run again."""
        for name, other in self._by_name.items():
            if other.trained == run.trained and self._outcomes[name].state in ("done", "failed"):
                return dataclasses.replace(self._outcomes[name], run=run.run)
        return None

    def _update(self) -> None:
        """Takes over which runs there are by now, what other processes have done, and what is abandoned."""
        for planned, is_over in self._search.all_runs():
            run = self._known(planned)
            if run.name not in self._taken and self._outcomes[run.name].state not in _OVER:
                self._earlier.add(run)
                self._outcomes[run.name] = self._outcome_so_far(run)
            if is_over and self._outcomes[run.name].state not in _OVER:
                self._outcomes[run.name] = Outcome(run.run, "abandoned", None, ABANDONED, Preempted.exit_code)
