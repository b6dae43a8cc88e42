"""The settings of a search by Optuna; in gin `study.search = @OptunaSearch()`."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vaeflow import registry, validation
from vaeflow.commands.studies.search.search import Search
from vaeflow.commands.studies.search.space import Values, described

_DIRECTIONS = ("minimize", "maximize")
_FILES = ("sqlite", "journal")


@registry.search
class OptunaSearch:
    """Lets Optuna propose the settings of a study's runs, and end bad runs early.

    Each trial is a run of the study, or one for each of its seeds, under the trial's number. Trials that
    are carried out one after the other get the same settings again from the same `seed`, however
    often the search is stopped in between; of trials side by side, the proposals also depend on which
    end first.

    Args:
      metric: what is compared, by its name in `metrics.jsonl`, e.g. `"validation/negative_elbo"`, or in
        `evaluation.json` if `study.after` evaluates. With several seeds, their mean. Only the former
        lets bad runs be ended early, and only by the first seed's values.
      num_trials: the number of trials, over all starts and all processes of the search.
      direction: `"minimize"` or `"maximize"`.
      sampler: the name of a class of `optuna.samplers`, which proposes the settings.
      sampler_settings: the arguments of its constructor, e.g. `{"n_startup_trials": 5}`.
      pruner: the name of a class of `optuna.pruners`, which ends bad runs early; None lets all run to
        their ends.
      pruner_settings: the arguments of its constructor, e.g. `{"n_warmup_steps": 1000}`.
      seed: of the proposals.
      storage: `"sqlite"`, for the file `optuna.db` in the study's folder; `"journal"`, for
        `optuna.journal` there, if several machines share the search; or the URL of a database.
    """

    def __init__(
        self,
        metric: str,
        num_trials: int,
        direction: str = "minimize",
        sampler: str = "TPESampler",
        sampler_settings: Mapping[str, Any] | None = None,
        pruner: str | None = "MedianPruner",
        pruner_settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        storage: str = "sqlite",
    ) -> None:
        self.metric = _text("metric", metric)
        self.num_trials = validation.positive_integer("OptunaSearch.num_trials", num_trials)
        self.direction = validation.one_of("OptunaSearch.direction", direction, _DIRECTIONS)
        self.sampler = _text("sampler", sampler)
        self.sampler_settings = _settings("sampler_settings", sampler_settings)
        self.pruner = None if pruner is None else _text("pruner", pruner)
        self.pruner_settings = _settings("pruner_settings", pruner_settings)
        self.seed = validation.seed("OptunaSearch.seed", seed)
        self.storage = _text("storage", storage)
        if self.storage not in _FILES and "://" not in self.storage:
            raise ValueError(
                '`OptunaSearch.storage` must be "sqlite", "journal" or the URL of a database, got '
                f"{storage!r}"
            )

    def begin(
        self,
        folder: pathlib.Path,
        space: Mapping[str, Values],
        seeds: Sequence[int],
        read: Callable[[dict[str, str]], dict[str, str]] = dict,
    ) -> Search:
        """Opens the search, or goes on with it.

        Args:
          folder: of the study.
          space: setting -> the values that it may take.
          seeds: the seeds of each trial.
          read: returns those of some settings that a run with all of them reads.

        Raises:
          ConfigurationError: Optuna is not installed, a setting is wrong, or the folder holds another
            search.
          EnvironmentFailure: the storage does not answer.
        """
        # Optuna is not part of every installation, and takes a second to import.
        from vaeflow.commands.studies.search import optuna_parts, trials

        maker = optuna_parts.make("sampler", self.sampler, self.sampler_settings)
        pruner = "NopPruner" if self.pruner is None else self.pruner
        known = trials.Trials(
            folder,
            space,
            self.storage,
            folder.resolve().name,
            self.direction,
            optuna_parts.KeyedSampler(maker, self.seed),
            optuna_parts.make("pruner", pruner, self.pruner_settings)(),
            {"space": described(space), "metric": self.metric, "seeds": str(tuple(seeds))},
        )
        return Search(known, self.num_trials, self.metric, seeds, read)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"`OptunaSearch.{name}` must be text, got {value!r}")
    return value


def _settings(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(
            f'`OptunaSearch.{name}` must be a dict such as {{"n_startup_trials": 5}}, got {value!r}'
        )
    return dict(value)
