"""What Optuna brings to a search: its storages, samplers and pruners, made from settings."""

import contextlib
import functools
import pathlib
import re
import sqlite3
import warnings
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np

from vaeflow import registry
from vaeflow.errors import ConfigurationError, EnvironmentFailure, RunError
from vaeflow.runs import paths

try:
    import optuna
    from optuna.exceptions import ExperimentalWarning, StorageInternalError
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
except ModuleNotFoundError as missing:
    raise ConfigurationError("Optuna is not installed; pip install 'vaeflow[optuna]'") from missing

_SQLITE, _JOURNAL = "optuna.db", "optuna.journal"
# SQLite waits so long for another process that writes.
_BUSY_SECONDS = 60.0
_LARGEST_SEED = 2**31
_STORAGE_ERRORS = (SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError, RuntimeError, ValueError)
_KINDS = {
    "sampler": (optuna.samplers, optuna.samplers.BaseSampler),
    "pruner": (optuna.pruners, optuna.pruners.BasePruner),
}


def open_storage(storage: str, folder: pathlib.Path) -> Any:
    """Opens a storage, and makes it if there is none.

    Args:
      storage: `"sqlite"` for `optuna.db` in the folder; `"journal"` for `optuna.journal`, which also works
        on network disks; or the URL of a database as SQLAlchemy takes it.
      folder: the folder of the study.

    Raises:
      EnvironmentFailure: the file is a link that leads out of the folder.
    """
    if storage == "journal":
        # A relative path would end up in a link, and lead elsewhere from there.
        backend = JournalFileBackend(str(paths.inside(folder.absolute(), _JOURNAL)))
        return optuna.storages.JournalStorage(backend)
    if storage != "sqlite":
        return optuna.storages.RDBStorage(storage)

    path = paths.inside(folder, _SQLITE)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)

    # No path in the URL: SQLAlchemy and Optuna would take some of its characters for a syntax.
    return optuna.storages.RDBStorage(f"sqlite:///{_SQLITE}", engine_kwargs={"creator": connect})


@contextlib.contextmanager
def storage_errors(storage: str) -> Generator[None]:
    """Turns what a storage raises inside into one line."""
    shown = re.sub(r"//[^@/]*@", "//…@", storage)  # Without the password.
    place = f"`OptunaSearch.storage` = {shown!r}"
    with _quiet():
        try:
            yield
        except RunError:
            raise
        except (ArgumentError, ImportError) as error:
            raise ConfigurationError(f"{place} cannot be used: {_first_line(error)}") from error
        except _STORAGE_ERRORS as error:
            raise EnvironmentFailure(f"{place} cannot be used: {_first_line(error)}") from error


def make(kind: str, name: object, settings: Mapping[str, Any]) -> Callable[..., Any]:
    """Finds a sampler or pruner by the name of its class in Optuna, and tries its settings.

    Args:
      kind: `"sampler"` or `"pruner"`.
      name: of the class, e.g. `"TPESampler"`.
      settings: arguments of its constructor.

    Returns:
      A function that makes it; of a sampler it takes `seed`.

    Raises:
      ConfigurationError: there is no such class, or it refuses the settings.
    """
    module, base = _KINDS[kind]
    found = getattr(module, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, base)):
        near = registry.did_you_mean(name, module.__all__) if isinstance(name, str) else ""
        raise ConfigurationError(
            f"`OptunaSearch.{kind}` must be the name of a class in optuna.{kind}s, got {name!r}{near}"
        )
    maker = functools.partial(found, **settings)
    try:
        with _quiet():
            maker(**({"seed": 0} if kind == "sampler" else {}))
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigurationError(
            f"optuna.{kind}s.{name} cannot be made with `OptunaSearch.{kind}_settings` = {dict(settings)!r}: "
            f"{_first_line(error)}"
        ) from error
    return maker


class KeyedSampler(optuna.samplers.BaseSampler):
    """Draws each trial with a sampler of its own, seeded by the number of the trial.

    A single sampler would begin its sequence again each time that the search is resumed, and so would
    that of each process that shares the search: they would propose the same settings again.

    Args:
      maker: makes a sampler, called with `seed`.
      seed: of the search.
    """

    def __init__(self, maker: Callable[..., Any], seed: int) -> None:
        self._maker = maker
        self._seed = seed
        self._sampler = maker(seed=seed)

    def before_trial(self, study: Any, trial: Any) -> None:
        """Makes the trial's sampler."""
        seed = np.random.default_rng((self._seed, trial.number)).integers(_LARGEST_SEED)
        self._sampler = self._maker(seed=int(seed))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        """As the trial's sampler does."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        """As the trial's sampler does."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """As the trial's sampler does."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """As the trial's sampler does."""
        self._sampler.after_trial(study, trial, state, values)


def _quiet() -> contextlib.AbstractContextManager[Any]:
    return warnings.catch_warnings(action="ignore", category=ExperimentalWarning)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
