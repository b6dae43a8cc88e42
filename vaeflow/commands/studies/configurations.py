"""The configurations of a study's runs, read and checked before the first run starts."""

import dataclasses
from collections.abc import Mapping, Sequence

from vaeflow import config
from vaeflow.commands.studies.plan import PlannedRun
from vaeflow.errors import ConfigurationError
from vaeflow.runs import record


@dataclasses.dataclass(frozen=True)
class Source:
    """What the user has given, the same for all runs of a study.

    Attributes:
      files: gin files, as for `--gin_file`.
      parameters: gin statements, as for `--gin_param`; some of them may be for the study itself, or for
        some of its runs only.
      plugins: modules whose code the user trusts, as for `--plugin`.
    """

    files: tuple[str, ...]
    parameters: tuple[str, ...]
    plugins: tuple[str, ...]

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
      trained: the part of it that the training reads: two runs with the same are the same run.
      after: command of `study.after` -> the lines of what it reads.
      flags: command, `train` included -> its flags that give the configuration.
    """

    run: PlannedRun
    text: str
    trained: str
    after: Mapping[str, list[str]]
    flags: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.run.name

    @property
    def shown(self) -> str:
        """What a record holds of `trained`: it has no paths of this machine."""
        return record.without_paths(self.trained)


def configure_grid(runs: Sequence[PlannedRun], source: Source, after: Sequence[str]) -> list[Configured]:
    """Reads and checks the configuration of every run; see `configure`.

    Raises:
      ConfigurationError: as `configure`, or two runs have the same settings.
    """
    known: dict[str, PlannedRun] = {}
    configured = list[Configured]()
    for run in runs:
        made = configure(run, source, after)
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
    return config.read("train", files, parameters, plugins).own_text


def settings_read(settings: Mapping[str, str], source: Source) -> dict[str, str]:
    """Returns those of some settings that a run with all of them would read.

    Args:
      settings: setting -> gin text.
      source: what the user has given.

    Raises:
      ConfigurationError: one of them is no setting, or something else is wrong.
    """
    statements = {f"{setting} = {text}": setting for setting, text in settings.items()}
    given = (*source.parameters, *statements)
    read = config.read("train", source.files, (), source.plugins, given).shared
    return {setting: settings[setting] for statement, setting in statements.items() if statement in read}


def configure(run: PlannedRun, source: Source, after: Sequence[str]) -> Configured:
    """Reads and checks the configuration of a run, as its commands will; nothing is made of it.

    Args:
      run: the run.
      source: what the user has given.
      after: the commands on the finished run.

    Raises:
      ConfigurationError: the run would not read one of its settings, or something else is wrong.
    """
    try:
        read = {
            command: config.read(command, source.files, run.parameters, source.plugins, source.parameters)
            for command in ("train", *after)
        }
    except ConfigurationError as error:
        raise ConfigurationError(f"the run {run.name}: {error}") from error
    return Configured(
        run,
        read["train"].text,
        read["train"].own_text,
        {command: record.without_paths(read[command].own_text).strip().splitlines() for command in after},
        {command: _flags(run, source, configuration) for command, configuration in read.items()},
    )


def _flags(run: PlannedRun, source: Source, configuration: config.Configuration) -> tuple[str, ...]:
    """Returns the flags of one command: of what the study is given, the statements that the command reads."""
    return (
        *(f"--gin_file={name}" for name in source.files),
        *(f"--gin_param={text}" for text in (*configuration.shared, *run.parameters)),
        *source.plugin_flags,
    )
