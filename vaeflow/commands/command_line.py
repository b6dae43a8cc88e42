"""The flags of the commands, their help, and how an exception becomes an exit code."""

import dataclasses
import os
import pathlib
import sys
import textwrap
from collections.abc import Callable
from typing import Any

from absl import flags as absl_flags
from absl import logging

from vaeflow import config, registry
from vaeflow.commands import shared_flags
from vaeflow.errors import ConfigurationError, Preempted, RunError, user_code
from vaeflow.runs import paths, program, signals
from vaeflow.runs.escaping import printable, printable_record
from vaeflow.runs.watchdog import Watchdog

_HELP_WIDTH = 100
# The flags whose values are paths; `--checkpoint` takes words too, which any path may be.
_PATHS = frozenset({"workdir", "gin_file", "checkpoint", "results", "encoded", "tokenizer", "to"})
HELP_FLAGS = frozenset({"-h", "--help", "--helpfull", "-help", "--helpshort"})


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of the shell.

    Attributes:
      name: what the user types, e.g. `local-cluster`.
      documentation: what `--help` prints above the flags; it names commands as
        `vaeflow train`, and help shows them as the user called this one.
      run: called with the parsed flags, then with the arguments that are not flags; returns
        the exit code, or None for 0.
      flags: names of the flags to take from those that several commands share.
      define_flags: adds the command's own flags to an `absl.flags.FlagValues`, or None.
      arguments: names of the optional arguments that are not flags.
      passes_flags_on: whether what follows `--` is handed to `run`, as a list.
    """

    name: str
    documentation: str | None
    run: Callable[..., int | None]
    flags: tuple[str, ...] = ()
    define_flags: Callable[[absl_flags.FlagValues], None] | None = None
    arguments: tuple[str, ...] = ()
    passes_flags_on: bool = False

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return (self.documentation or "").strip().partition("\n")[0]

    def flag_values(self) -> absl_flags.FlagValues:
        """Returns the flags of this command, not parsed yet."""
        values = absl_flags.FlagValues()
        shared_flags.define(self.flags, values)
        if self.define_flags is not None:
            self.define_flags(values)
        return values


def main(command: Command, arguments: list[str], prefix: str = "vaeflow ") -> int:
    """Parses the command line, runs a command, and turns what stops it into an exit code.

    Args:
      command: the command.
      arguments: what the user typed after its name.
      prefix: what the user typed before its name; see `Program`.

    Returns:
      The exit code. Exceptions other than `RunError` are defects, and pass, unless they come from
      the user's own code.
    """
    called = program.Program(prefix, command.name)
    with program.running(called), signals.watching(), Watchdog(resumes=False):
        own, passed_on = _split(arguments) if command.passes_flags_on else (arguments, None)
        if HELP_FLAGS & set(own):
            print(help_text(command))
            return 0
        # TensorFlow's start-up lines would bury the one message that counts.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        logging.use_absl_handler()
        logging.get_absl_handler().addFilter(printable_record)
        absl_flags.FLAGS.mark_as_parsed()  # Otherwise absl's logging complains; ours are not in it.
        logging.set_verbosity(logging.WARNING)
        try:
            values, rest = parse(command, own)
            with user_code.running(None):
                return command.run(values, *rest, *([] if passed_on is None else [passed_on])) or 0
        except RunError as error:
            kind = "preempted" if isinstance(error, Preempted) else "error"
            message = f"{program.current.name}: {kind}: {config.explain(error)}"
            print(printable(message), file=sys.stderr)
            return error.exit_code


def _split(arguments):
    """Returns the arguments before the first `--`, and those after it."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], arguments[end + 1 :]


def parse(command: Command, arguments: list[str]) -> tuple[absl_flags.FlagValues, list[str]]:
    """Parses the arguments of a command.

    Returns:
      The flags, and the arguments that are not flags.

    Raises:
      ConfigurationError: a flag is unknown or has a bad value, or there are too many arguments.
    """
    values = command.flag_values()
    try:
        rest = values([command.name, *arguments])[1:]
    except absl_flags.UnrecognizedFlagError as error:
        near = registry.did_you_mean(error.flagname, list(values))
        near = near or "; --help lists the flags"
        raise ConfigurationError(f"unknown flag --{error.flagname}{near}") from error
    except absl_flags.Error as error:
        raise ConfigurationError(f"{error}; --help describes the flags") from error
    for name in _PATHS & set(values):
        given = values[name].value
        if isinstance(given, list):
            values[name].value = [str(paths.checked(f"--{name}", path)) for path in given]
        elif given is not None:
            values[name].value = str(paths.checked(f"--{name}", given))
    if len(rest) > len(command.arguments):
        extra = rest[len(command.arguments)]
        raise ConfigurationError(f"{extra!r} is not a flag; write --gin_file=… or --gin_param='…'")
    return values, rest


def load(root: str, values: absl_flags.FlagValues) -> config.Configuration:
    """Loads the configuration that the flags name; see `config.load`.

    Without `--gin_file` it is that of the run in `--workdir`, which is resumed.
    """
    files = values.gin_file or _files_of_run(values)
    return config.load(root, files, values.gin_param, values.plugin)


def _files_of_run(values):
    """Returns the gin file of the run to resume, where none is given; none for parameters alone."""
    path = pathlib.Path(values.workdir or "", "config.gin")
    if values.workdir and path.is_file():
        return [str(path)]
    if not values.gin_param:
        reason = f": {values.workdir} holds no run to resume" if values.workdir else ""
        raise ConfigurationError(f"give --gin_file=vae.gin or another file{reason}")
    return []


def load_trained(root: str, values: absl_flags.FlagValues) -> str:
    """Loads the configuration of the work folder that the flags name; see `config.load_trained`.

    Returns:
      The folder: `--workdir`, or the one that holds `--checkpoint`.

    Raises:
      ConfigurationError: neither names a work folder.
    """
    folder = values.workdir
    if folder is None:
        path = pathlib.Path(values.checkpoint)
        if path.parent.name != "checkpoints":
            raise ConfigurationError("give --workdir=<the folder of a run>, e.g. --workdir=runs/vae")
        folder = str(path.parent.parent)
    config.load_trained(root, folder, values.gin_file, values.gin_param, values.plugin)
    return folder


def call(root: str, values: absl_flags.FlagValues, **arguments: Any) -> Any:
    """Splits the devices if the flags ask for it, and calls a command; see `config.call`."""
    if getattr(values, "virtual_devices", None):
        from vaeflow.devices import strategies  # Imports TensorFlow, which `--help` must not.

        strategies.split_devices(values.virtual_devices)
    return config.call(root, **arguments)


def workdir(values: absl_flags.FlagValues, prefix: str = "") -> str:
    """Returns `--workdir`, or `runs/<prefix><stem of the first gin file>`.

    Raises:
      ConfigurationError: neither is given.
    """
    if values.workdir is not None:
        return values.workdir
    if not values.gin_file:
        raise ConfigurationError("give --gin_file=vae.gin or another file, or --workdir=<folder>")
    folder = pathlib.Path("runs") / f"{prefix}{pathlib.Path(values.gin_file[0]).stem}"
    return str(paths.checked("--workdir", folder))


def help_text(command: Command) -> str:
    """Returns what `--help` prints, with commands spelled as the user called this one."""
    called = dataclasses.replace(program.current, command=command.name)
    usage = ["usage:", called.invocation, *(f"[{name}]" for name in command.arguments), "[flags]"]
    if command.passes_flags_on:
        usage.append("-- [flags of train]")
    documentation = called.respell((command.documentation or "").strip())
    return "\n\n".join([" ".join(usage), documentation, "flags:\n" + "\n".join(_describe(command))])


def _describe(command):
    values = command.flag_values()
    for name in values:
        flag = values[name]
        yield f"  --{name}" if flag.boolean else f"  --{name}=…"
        description = " ".join(flag.help.partition(";\n")[0].split())
        yield textwrap.fill(description, _HELP_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
