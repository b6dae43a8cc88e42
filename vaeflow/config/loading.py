"""Puts a configuration in force: reads it, checks it before gin executes anything, and injects it."""

import contextlib
import copy
import dataclasses
import os
from collections.abc import Container, Iterable, Iterator
from typing import Any

import gin
from absl import logging

from vaeflow import registry
from vaeflow.config import check, limits, messages, plain_values, reading, syntax
from vaeflow.config import files as gin_files
from vaeflow.errors import ConfigurationError, RunError, user_code


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A checked configuration.

    Attributes:
      root: the command it configures.
      text: the whole configuration as one gin text. It does not depend on the order of
        statements, on comments, or on which file a statement came from.
      own_text: the part of it that the root itself reads, without the settings of other commands.
      warnings: which statements were ignored, and why.
      gin_files: the files that were read, in order, as messages name them.
      plugins: the plug-in modules that were loaded.
      bindings: the `syntax.Binding`s in force.
      shared: those of the statements that a study shares with its runs which are in force.
    """

    root: str
    text: str
    own_text: str
    warnings: tuple[str, ...]
    gin_files: tuple[str, ...]
    plugins: tuple[str, ...]
    bindings: tuple[syntax.Binding, ...]
    shared: tuple[str, ...] = ()


NONE = Configuration("", "", "", (), (), (), ())

# gin's configuration is global, and this is its source.
_in_force = NONE


def load(
    root: str,
    files: Iterable[str] = (),
    parameters: Iterable[str] = (),
    plugins: Iterable[str] = (),
) -> Configuration:
    """Reads a configuration, checks it, and puts it in force until the next `load`; see `read`.

    Returns:
      The configuration; its warnings have been logged.
    """
    global _in_force
    configuration = read(root, files, parameters, plugins)
    gin.clear_config()
    gin.parse_config(configuration.text)
    for warning in configuration.warnings:
        logging.warning("%s", warning)
    _in_force = configuration
    return configuration


def read(
    root: str,
    files: Iterable[str] = (),
    parameters: Iterable[str] = (),
    plugins: Iterable[str] = (),
    shared: Iterable[str] = (),
) -> Configuration:
    """Reads a configuration and checks it; the one in force stays.

    Args:
      root: the name of the command, e.g. `train`.
      files: gin files, as given with `--gin_file`; later statements win.
      parameters: statements, as given with `--gin_param`; they win over files.
      plugins: modules to import, whose code the user trusts.
      shared: statements, as given with the `--gin_param` of a study, which its files might hold too:
        they win over files, and not every run needs to read each.

    Raises:
      ConfigurationError: with place, reason and the nearest names. If a statement is
        malformed, or would run code without the user's consent, nothing was imported.
    """
    reader = reading.Reader()
    for name in files:
        reader.read_file(gin_files.find_given(name))
    places = [(text, reader.read_parameter(text, "shared")) for text in shared]
    for text in parameters:
        reader.read_parameter(text)
    limits.check_macros(reader.bindings)
    plugins = list(plugins)
    trusted = list(dict.fromkeys([*plugins, *registry.announced_plugins()]))
    imports = [_consented(module, place, trusted) for module, place in reader.imports]
    registry.load_builtins()
    for module in trusted:
        registry.load_plugin(module, named_by_user=module in plugins)
    checked = check.check(root, reader.bindings)
    dropped = {each.location for each in reader.bindings} - {each.location for each in checked.bindings}
    return Configuration(
        root=root,
        text=syntax.format_statements(imports, checked.bindings),
        own_text=syntax.format_statements((), checked.own),
        warnings=tuple(checked.warnings),
        gin_files=tuple(reader.files),
        plugins=tuple(trusted),
        bindings=tuple(checked.bindings),
        shared=tuple(text for text, place in places if place not in dropped),
    )


def load_trained(
    root: str,
    workdir: str | os.PathLike[str],
    files: Iterable[str] = (),
    parameters: Iterable[str] = (),
    plugins: Iterable[str] = (),
) -> Configuration:
    """Puts the configuration in force that the model of a work folder was trained with.

    Args:
      root: the name of the command, e.g. `evaluate`.
      workdir: the work folder of a training run.
      files, parameters, plugins: as for `load`; they win over the folder's.

    Returns:
      The configuration.

    Raises:
      ConfigurationError: as for `load`, or the folder is not that of a run.
    """
    plugins = list(plugins)
    path = str(gin_files.of_workdir(workdir))
    try:
        return load(root, [path, *files], parameters, plugins)
    except ConfigurationError as error:
        known = {*plugins, *registry.announced_plugins()}
        missing = [name for name in gin_files.plugins_of_workdir(workdir) if name not in known]
        if not missing:
            raise
        flags = " ".join(f"--plugin={name}" for name in missing)
        raise ConfigurationError(
            f"the run in {gin_files.show(workdir)} was trained with code of your own that is not loaded: add "
            f"{flags} if you trust it (in Python, plugins={missing!r}). Without it: "
            f"{str(error).splitlines()[0]}"
        ) from error


def values_of(root: str, without: Container[str] = ()) -> dict[str, Any]:
    """Returns the arguments a command would be called with, including defaults: name -> value.

    Args:
      root: the name of the command.
      without: names of arguments that are not made, nor returned.

    Raises:
      ConfigurationError: gin could not make one of them.
    """
    parameters = registry.get(root).parameters.values()
    values = {each.name: each.default for each in parameters if each.default is not each.empty}
    values |= gin.get_bindings(root, resolve_references=False)
    with values_checked():
        # gin makes what a reference stands for when it is copied.
        return copy.deepcopy({name: value for name, value in values.items() if name not in without})


def call(root: str, *positional: Any, **arguments: Any) -> Any:
    """Calls a command with the configuration in force.

    Args:
      root: the name of the command.
      *positional: its first arguments, which win over gin's; gin does not make these.
      **arguments: arguments that do not come from gin; they win over gin's.

    Returns:
      The result of the command.

    Raises:
      ConfigurationError: gin could not make one of its arguments.
    """
    target = registry.get(root).target
    try:
        return registry.configured(target)(*positional, **arguments)
    except RunError:
        raise
    except Exception as error:
        # An exception of the command itself is a defect, and keeps its traceback.
        is_about_a_value = isinstance(error, (ValueError, TypeError)) or bool(user_code.own_frames(error))
        if root in messages.trail(error) or not is_about_a_value:
            raise
        raise user_code.marked(ConfigurationError(explain(error))) from error


@contextlib.contextmanager
def values_checked() -> Iterator[None]:
    """Turns the errors of constructors into a `ConfigurationError`; put it around their calls.

    What the user's own constructors raise counts, whatever it is. Of vaeflow's, a `TypeError`
    counts only if gin made the call; any other is a defect.
    """
    try:
        yield
    except RunError:
        raise
    except Exception as error:
        made_by_gin = isinstance(error, TypeError) and bool(messages.trail(error))
        if not (isinstance(error, ValueError) or made_by_gin or user_code.explain(error)):
            raise
        raise user_code.marked(ConfigurationError(explain(error))) from error


def explain(error: BaseException) -> str:
    """Returns the message of an exception with its place in the gin files; see `messages.explain`."""
    return messages.explain(error, _in_force.bindings)


def text_in_force() -> str:
    """Returns the whole configuration as one gin text; see `Configuration.text`."""
    return _in_force.text


def text_of(root: str) -> str:
    """Returns the part of the configuration in force that a command reads itself, as one gin text."""
    used = check.keys_read(root, _in_force.bindings)
    return syntax.format_statements([], [binding for binding in _in_force.bindings if binding.key in used])


def plugins_in_force() -> tuple[str, ...]:
    """Returns the plug-in modules that were loaded for the configuration in force."""
    return _in_force.plugins


def operative_text() -> str:
    """Returns, as gin text, the arguments of all configured calls so far, including defaults."""
    return gin.operative_config_str()


def operative_parameters() -> dict[str, Any]:
    """Returns the same as plain values, `Class.parameter` -> value; see `plain_values.of_text`."""
    return plain_values.of_text(operative_text())


def _consented(module: str, place: str, trusted: Container[str]) -> str:
    """Returns the module of an `import` statement if the user trusts its code."""
    if module.startswith("__gin__"):
        raise ConfigurationError(
            f"{place} is refused: it would let a gin file name any Python object; register classes with the "
            "decorators of vaeflow.registry"
        )
    if module not in trusted:
        raise registry.refused_import(place, module)
    return module
