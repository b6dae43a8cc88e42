"""The trials of a search in Optuna's storage, which is all the state that a search has."""

import contextlib
import functools
import math
import pathlib
import time
from collections.abc import Generator, Mapping
from typing import Any

from vaeflow.commands.studies.search import optuna_parts
from vaeflow.commands.studies.search.optuna_parts import optuna
from vaeflow.commands.studies.search.space import Choice, Values
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import files, lock, paths

_FOLDER = "trials"
_FACTS = "vaeflow"
_POLL_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 300.0
_State = optuna.trial.TrialState


class Trial:
    """A trial that this process runs.

    Attributes:
      number: its number, from 0.
      settings: setting -> gin text.
      is_abandoned: whether the pruner has ended it.
    """

    def __init__(
        self, trial: Any, settings: dict[str, str], claim: contextlib.ExitStack, storage: str
    ) -> None:
        self.number: int = trial.number
        self.settings = settings
        self._trial = trial
        self._claim = claim
        self._errors = functools.partial(optuna_parts.storage_errors, storage)
        [frozen] = [each for each in trial.study.get_trials(deepcopy=False) if each.number == self.number]
        self._reported = set(frozen.intermediate_values)
        # The process that was about to end it may have been killed.
        self.is_abandoned: bool = bool(self._reported) and trial.should_prune()

    def report(self, values: Mapping[int, float], is_running: bool = True) -> None:
        """Reports intermediate values, and asks the pruner after each new one.

        Args:
          values: step -> value; those reported before are left out.
          is_running: False once the run is finished, when there is nothing left to prune.
        """
        for step in sorted(values.keys() - self._reported):
            if self.is_abandoned:
                return
            with self._errors():
                self._trial.report(values[step], step)
                self._reported.add(step)
                self.is_abandoned = is_running and self._trial.should_prune()

    def complete(self, value: float) -> None:
        """Ends it with its value; it has failed if that is not a number."""
        if math.isnan(value):
            self.fail()
        else:
            self._end(_State.COMPLETE, value)

    def abandon(self) -> None:
        """Ends it as pruned."""
        self._end(_State.PRUNED)

    def fail(self) -> None:
        """Ends it as failed; samplers ignore it."""
        self._end(_State.FAIL)

    def leave(self) -> None:
        """Leaves it as it is, to be taken up by the next process of the search."""
        self._claim.close()

    def _end(self, state: Any, value: float | None = None) -> None:
        with self._errors():
            self._trial.study.tell(self._trial, value, state=state)
        self._claim.close()


class Trials:
    """The trials of a search, which several processes may share.

    Each process holds a lock for each trial that it runs. A trial that counts as running in the storage
    while its lock is free was left by a process that was stopped or killed: the next one takes it up,
    with its number and its settings, so that its runs are resumed. Optuna's own heartbeats would give
    it up as failed after some minutes, and repeat it as another trial.

    Args:
      folder: the folder of the study, on a disk that all its processes share.
      space: setting -> the values that it may take.
      storage: see `optuna_parts.open_storage`.
      name: of the search in the storage.
      direction: `"minimize"` or `"maximize"`.
      sampler: an Optuna sampler.
      pruner: an Optuna pruner.
      facts: what may not change while the search goes on: name -> text.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        space: Mapping[str, Values],
        storage: str,
        name: str,
        direction: str,
        sampler: Any,
        pruner: Any,
        facts: Mapping[str, str],
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder = paths.inside(folder, _FOLDER)
        self._space = space
        self._storage = storage
        self._begun: set[int] = set()
        files.make_folder(self._folder)
        with self._alone():
            self._study = optuna.create_study(
                storage=optuna_parts.open_storage(storage, folder),
                sampler=sampler,
                pruner=pruner,
                study_name=name,
                direction=direction,
                load_if_exists=True,
            )
            self._check_facts({**facts, "direction": direction})

    def next(self, num_trials: int) -> Trial | None:
        """Takes up a trial that was left, or starts a new one.

        Args:
          num_trials: the number of trials of the whole search.

        Returns:
          The trial; None if all have been started.
        """
        with self._alone():
            return self._left() or self._new(num_trials)

    def known(self) -> dict[int, tuple[str, dict[str, str]]]:
        """Returns all trials: number -> state in lower case, as Optuna names it, and settings as gin text.

        A trial that is being proposed is left out.
        """
        with optuna_parts.storage_errors(self._storage):
            return {
                trial.number: (
                    trial.state.name.lower(),
                    {name: _as_gin(trial.params[name]) for name in self._space},
                )
                for trial in self._study.get_trials(deepcopy=False)
                if trial.params.keys() >= self._space.keys()
            }

    def _left(self) -> Trial | None:
        for number in sorted(self._running().keys() - self._begun):
            claim = self._claimed(number)
            if claim is None:
                continue
            if (trial := self._running().get(number)) is not None:
                # Optuna has no public way from a number to its trial.
                return self._begin(optuna.trial.Trial(self._study, trial._trial_id), claim)  # noqa: SLF001
            claim.close()  # Another process has ended it just now.
        return None

    def _running(self) -> dict[int, Any]:
        trials = self._study.get_trials(deepcopy=False, states=(_State.RUNNING,))
        return {trial.number: trial for trial in trials}

    def _new(self, num_trials: int) -> Trial | None:
        if len(self._study.get_trials(deepcopy=False)) >= num_trials:
            return None
        trial = self._study.ask()
        claim = self._claimed(trial.number)
        if claim is None:
            raise EnvironmentFailure(
                f"{self._folder} holds the trials of another search; choose another folder with --workdir"
            )
        return self._begin(trial, claim)

    def _begin(self, trial: Any, claim: contextlib.ExitStack) -> Trial:
        self._begun.add(trial.number)
        settings = {name: _as_gin(_propose(trial, name, values)) for name, values in self._space.items()}
        return Trial(trial, settings, claim, self._storage)

    def _claimed(self, number: int) -> contextlib.ExitStack | None:
        """Takes the lock of a trial; None if a live process holds it."""
        folder = paths.inside(self._folder, str(number))
        files.make_folder(folder)
        claim = contextlib.ExitStack()
        try:
            claim.enter_context(lock.held(folder, "the trial"))
        except EnvironmentFailure:
            return None
        return claim

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """Lets one process at a time start trials; turns the errors of the storage into one line."""
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(lock.held(self._folder, "the search"))
                    break
                except EnvironmentFailure:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_POLL_SECONDS)
            stack.enter_context(optuna_parts.storage_errors(self._storage))
            yield

    def _check_facts(self, facts: Mapping[str, str]) -> None:
        known = self._study.user_attrs.get(_FACTS)
        if known is None:
            self._study.set_user_attr(_FACTS, dict(facts))
            return
        for name in facts:
            if known.get(name) != facts[name]:
                raise ConfigurationError(
                    f"the search in {self._folder.parent} was begun with another {name}: {known.get(name)}, "
                    f"and now it is {facts[name]}; choose another folder with --workdir"
                )


def _propose(trial: Any, name: str, values: Values) -> Any:
    """Draws a value; one that the trial has already stays."""
    if isinstance(values, Choice):
        return trial.suggest_categorical(name, values.values)
    if values.is_integer:
        return trial.suggest_int(
            name, values.lowest, values.highest, log=values.is_log, step=values.step or 1
        )
    return trial.suggest_float(name, values.lowest, values.highest, log=values.is_log, step=values.step)


def _as_gin(value: Any) -> str:
    """Writes a proposed value; that of a choice is gin text already."""
    return value if isinstance(value, str) else repr(value)
