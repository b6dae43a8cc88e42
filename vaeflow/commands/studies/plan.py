"""The runs of a study: every point of a grid with every seed, under names that never change."""

import collections
import dataclasses
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vaeflow import config, validation
from vaeflow.errors import ConfigurationError

MOST_RUNS = 10_000
_LONGEST_NAME = 120
_SETTING = re.compile(r"(?:\w+/)*(?:\w+\.)*\w+")
_EXAMPLE = '{"BetaVAE.beta": (1, 4, 16)}'
# What gin needs around a value and a name does not: quotes, brackets, the marks of references and macros.
_MARKS = re.compile(r"['\"@%()\[\]{}]")
_NOT_IN_A_NAME = re.compile(r"[^\w.+,=-]+", re.ASCII)


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Attributes:
      index: of its point in the grid, or of the trial of a search, from 0; runs that differ in the
        seed alone share it.
      name: of its work folder, its log and its record, e.g. `003_FactorVAE.gamma=40_seed=2`.
      bindings: setting -> its value as gin text, e.g. `{"train.model": "@FactorVAE"}`.
      seed: the value of `train.seed`.
    """

    index: int
    name: str
    bindings: dict[str, str]
    seed: int

    @property
    def parameters(self) -> tuple[str, ...]:
        """The gin statements that make this run of the study's configuration, as for `--gin_param`."""
        given = (f"{setting} = {value}" for setting, value in self.bindings.items())
        return (*given, f"train.seed = {self.seed}")


def plan(grid: Any, seeds: Any, macros: Mapping[str, Any] | None = None) -> list[PlannedRun]:
    """Lists the runs of a grid: every point with the first seed, then with the second, and so on.

    The last setting of a grid varies fastest. A setting with a single value in its grid is not part
    of the names, unless all are.

    Args:
      grid: a dict, setting -> tuple of values, or a list of such dicts, whose points follow one
        another; the values as `config` reads them, with `config.Reference`s and `config.Macro`s.
      seeds: the number of seeds, from 0; or a tuple of seeds.
      macros: name -> value, for macros that stand for a grid or for all values of a setting.

    Raises:
      ConfigurationError: the grid or the seeds are something else, or give too many runs.
    """
    chosen = checked_seeds(seeds)
    points = list(itertools.islice(_points(grid, macros or {}), MOST_RUNS + 1))
    if len(points) * len(chosen) > MOST_RUNS:
        raise ConfigurationError(
            f"`study.grid` and `study.seeds` give more than {MOST_RUNS:,} runs; take fewer values"
        )
    return [
        planned_run(index, bindings, seed, shown)
        for seed in chosen
        for index, (bindings, shown) in enumerate(points)
    ]


def planned_run(
    index: int, bindings: Mapping[str, str], seed: int, shown: Sequence[str] | None = None
) -> PlannedRun:
    """Makes one run and its name.

    Args:
      index: of its point.
      bindings: setting -> gin text of its value.
      seed: the seed.
      shown: the settings that the name holds; None for all.
    """
    parts = [f"{_short(setting)}={_plain(bindings[setting])}" for setting in shown or bindings]
    start, end = f"{index:03}_", f"seed={seed}"
    middle = "".join(f"{part}_" for part in parts)
    if len(start + middle + end) > _LONGEST_NAME:
        digest = hashlib.sha256(middle.encode()).hexdigest()[:8]
        room = _LONGEST_NAME - len(start) - len(end) - len(digest) - 2
        middle = f"{middle[:room]}-{digest}_"
    return PlannedRun(index, start + middle + end, dict(bindings), seed)


def checked_seeds(seeds: Any) -> tuple[int, ...]:
    """Returns the seeds of `study.seeds`: of a number, so many from 0."""
    if isinstance(seeds, int):
        return tuple(range(validation.positive_integer("study.seeds", seeds, MOST_RUNS)))
    if not isinstance(seeds, (list, tuple)) or not seeds:
        raise ConfigurationError(f"`study.seeds` must be a number of seeds or a tuple of them, got {seeds!r}")
    for seed in seeds:
        validation.seed("study.seeds", seed)
    if twice := [seed for seed, count in collections.Counter(seeds).items() if count > 1]:
        raise ConfigurationError(f"`study.seeds` names the seed {twice[0]} twice; name each once")
    return tuple(seeds)


def _points(grid: Any, macros: Mapping[str, Any]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yields for each point its bindings, and which of them its name shows."""
    grid = without_macro(grid, macros)
    grids = list(grid) if isinstance(grid, (list, tuple)) else [grid]
    if not grids:
        raise _bad_grid(grid)
    for each in grids:
        values = _checked_grid(without_macro(each, macros), macros)
        shown = [setting for setting, texts in values.items() if len(texts) > 1] or list(values)
        for combination in itertools.product(*values.values()):
            yield dict(zip(values, combination, strict=True)), shown


def _checked_grid(grid: Any, macros: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns setting -> the gin texts of its values."""
    if not isinstance(grid, dict) or not grid:
        raise _bad_grid(grid)
    texts: dict[str, list[str]] = {}
    for setting, values in grid.items():
        if not isinstance(setting, str) or not _SETTING.fullmatch(setting):
            raise ConfigurationError(
                f"`study.grid` must name settings as texts, such as {_EXAMPLE}; got {setting!r}"
            )
        if setting == "train.seed":
            raise ConfigurationError(
                "`study.grid` cannot hold `train.seed`; use `study.seeds`, over which results are averaged"
            )
        if setting.startswith("study."):
            raise ConfigurationError(
                f"`study.grid` cannot hold `{setting}`, which is not a setting of one run"
            )
        values = without_macro(values, macros)
        if not isinstance(values, (list, tuple)) or not values:
            raise ConfigurationError(
                f"`study.grid` must give {setting!r} a tuple of values, as {_EXAMPLE} does; a single one is "
                f"written `(value,)`. Got {config.format_value(values)}"
            )
        texts[setting] = [config.format_value(value) for value in values]
        if twice := [text for text, count in collections.Counter(texts[setting]).items() if count > 1]:
            raise ConfigurationError(f"`study.grid` gives {setting!r} the value {twice[0]} twice")
    return texts


def _bad_grid(grid: Any) -> ConfigurationError:
    return ConfigurationError(
        "`study.grid` must be a dict of settings and tuples of their values, or a list of such dicts, e.g. "
        f"{_EXAMPLE}; got {config.format_value(grid)}"
    )


def without_macro(value: Any, macros: Mapping[str, Any]) -> Any:
    """Returns what a macro stands for, and any other value as it is; `config` has refused circles."""
    while isinstance(value, config.Macro):
        if value.name not in macros:
            raise ConfigurationError(f"%{value.name} has no value: add `{value.name} = …`")
        value = macros[value.name]
    return value


def _short(setting: str) -> str:
    """Returns a setting as a part of a name: without its package, and with its scopes before a dash."""
    *scopes, label = setting.split("/")
    return "-".join([*scopes, *[".".join(label.split(".")[-2:])]])


def _plain(text: str) -> str:
    """Returns the gin text of a value as a part of a name."""
    return _NOT_IN_A_NAME.sub("-", _MARKS.sub("", text).replace(", ", ",")).rstrip(",")
