"""The configurations of a study's runs, read and checked before the first run starts."""

import dataclasses
from collections.abc import Mapping, Sequence

from vaeflow import config, registry
from vaeflow.commands.studies.plan import PlannedRun
from vaeflow.errors import ConfigurationError
from vaeflow.runs import record


@dataclasses.dataclass(frozen=True)
class Source:
    """What the user has given, the same for all runs of a study.

    Attributes:
      files: gin files, as for `--gin_file`.
      parameters: gin statements, as for `--gin_param`, without those of the study itself.
      plugins: modules whose code the user trusts, as for `--plugin`.
    """

    files: tuple[str, ...]
    parameters: tuple[str, ...]
    plugins: tuple[str, ...]

    def flags(self, run: PlannedRun) -> tuple[str, ...]:
        """Returns the flags of a command on a run."""
        return (
            *(f"--gin_file={name}" for name in self.files),
            *(f"--gin_param={text}" for text in (*self.parameters, *run.parameters)),
            *self.plugin_flags,
        )

    @property
    def plugin_flags(self) -> tuple[str, ...]:
        """The flags that name the plug-ins."""
        return tuple(f"--plugin={name}" for name in self.plugins)


@dataclasses.dataclass(frozen=True)
class Configured:
    """A run with the texts that tell whether something on disk is of this run.

    Attributes:
      run: the run.
      text: what `config.gin` of the run holds.
      trained: the part of it that the training reads, without paths of this machine: two runs with the
        same are the same run.
      after: command of `study.after` -> the lines of what it reads.
    """

    run: PlannedRun
    text: str
    trained: str
    after: Mapping[str, list[str]]

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.run.name


def configure(runs: Sequence[PlannedRun], source: Source, after: Sequence[str]) -> list[Configured]:
    """Reads and checks the configuration of every run, as its commands will; nothing is made of it.

    Args:
      runs: the runs.
      source: what the user has given.
      after: the commands on each finished run.

    Raises:
      ConfigurationError: a run would not read one of its settings, or something else is wrong with it;
        or two runs have the same settings.
    """
    known: dict[str, PlannedRun] = {}
    configured = []
    for run in runs:
        made = _configure(run, source, after)
        other = known.setdefault(made.trained, run)
        if other is not run:
            raise ConfigurationError(
                f"the runs {other.name} and {run.name} of the study would be the same: their trainings read "
                "the same settings; change `study.grid`"
            )
        configured.append(made)
    return configured


def trained_text(files: Sequence[str], parameters: Sequence[str], plugins: Sequence[str]) -> str:
    """Returns what a training reads of a configuration; see `Configured.trained`."""
    return record.without_paths(config.read("train", files, parameters, plugins).own_text)


def _configure(run: PlannedRun, source: Source, after: Sequence[str]) -> Configured:
    def read(command: str) -> config.Configuration:
        return config.read(command, source.files, (*source.parameters, *run.parameters), source.plugins)

    configurable = {entry.name for entry in registry.entries("command")}
    try:
        training = read("train")
        commands = {command: _lines(read(command)) if command in configurable else [] for command in after}
    except ConfigurationError as error:
        raise ConfigurationError(f"the run {run.name}: {error}") from error
    return Configured(run, training.text, record.without_paths(training.own_text), commands)


def _lines(configuration: config.Configuration) -> list[str]:
    return record.without_paths(configuration.own_text).strip().splitlines()
