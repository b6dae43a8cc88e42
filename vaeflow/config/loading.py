"""Reads gin files and overrides, checks them before gin executes anything, and injects them."""

import contextlib
import dataclasses
import pathlib
import re
import tokenize

import gin
from absl import logging

from vaeflow import registry
from vaeflow.config import check, messages, syntax
from vaeflow.config import files as gin_files
from vaeflow.errors import ConfigurationError, RunError


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A checked configuration, in force until the next `load`.

    Attributes:
      root: the command that it is for.
      text: the whole configuration as one gin text, which depends neither on the order
        of statements, nor on comments, nor on which file a statement came from.
      warnings: what was ignored, and why.
      gin_files: the files read, as displayed in messages, in order.
      plugins: the plug-in modules loaded.
      bindings: the `syntax.Binding`s that hold.
    """

    root: str
    text: str
    warnings: tuple
    gin_files: tuple
    plugins: tuple
    bindings: tuple


NONE = Configuration("", "", (), (), (), ())

# gin's configuration is global; this is what it was made from.
_in_force = NONE


def load(root, files=(), parameters=(), plugins=(), load_builtins=None):
    """Reads a configuration, checks it, and puts it in force.

    Args:
      root: the name of the command, e.g. `train`.
      files: gin files, as given with `--gin_file`; later statements win.
      parameters: statements, as given with `--gin_param`; they win over files.
      plugins: modules that the user trusts and wants imported.
      load_builtins: imports the modules that register vaeflow's own classes; None for
        `registry.load_builtins`.

    Returns:
      A `Configuration`; its warnings have been logged.

    Raises:
      ConfigurationError: with place, reason and the nearest names. Where a statement is
        malformed or would run code that nobody consented to, nothing was imported.
    """
    global _in_force
    reader = _Reader()
    for name in files:
        reader.read_file(gin_files.find_given(name))
    for text in parameters:
        reader.read_parameter(text)
    trusted = list(dict.fromkeys([*plugins, *registry.announced_plugins()]))
    imports = [_consented(module, place, trusted) for module, place in reader.imports]
    (load_builtins or registry.load_builtins)()
    for module in trusted:
        registry.load_plugin(module)
    bindings, warnings = check.check(root, reader.bindings)
    text = syntax.format_statements(imports, bindings)
    gin.clear_config()
    gin.parse_config(text)
    for warning in warnings:
        logging.warning("%s", warning)
    collected = warnings, reader.files, trusted, bindings
    _in_force = Configuration(root, text, *map(tuple, collected))
    return _in_force


def load_trained(root, workdir, files=(), parameters=(), plugins=(), load_builtins=None):
    """Puts in force the configuration that a work folder's model was trained with.

    Args:
      root: the name of the command, e.g. `evaluate`.
      workdir: the work folder of a run of `train`.
      files, parameters, plugins: as for `load`; they win over the folder's.
      load_builtins: as for `load`.

    Returns:
      A `Configuration`.

    Raises:
      ConfigurationError: as for `load`; or the folder is not that of a run.
    """
    return load(root, [gin_files.of_workdir(workdir), *files], parameters, plugins, load_builtins)


def values_of(root):
    """Returns what a command would be called with: parameter -> value, its defaults too.

    Raises:
      ConfigurationError: gin could not make one of them.
    """
    parameters = registry.get(root).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    with values_checked():
        return defaults | gin.get_bindings(root)


def call(root, **arguments):
    """Calls a command with the configuration in force.

    Args:
      root: the name of the command.
      **arguments: what gin does not give it; they win over gin.

    Raises:
      ConfigurationError: gin could not make one of its arguments.
    """
    target = registry.get(root).target
    try:
        return registry.configured(target)(**arguments)
    except (ValueError, TypeError) as error:
        # What the command itself raised is a defect, and keeps its traceback.
        if isinstance(error, RunError) or root in messages.trail(error):
            raise
        raise ConfigurationError(explain(error)) from error


@contextlib.contextmanager
def values_checked():
    """Turns what constructors raise into a `ConfigurationError`; for a `with` around making things.

    A `TypeError` counts only when gin made the call: any other is a defect.
    """
    try:
        yield
    except RunError:
        raise
    except (ValueError, TypeError) as error:
        if isinstance(error, TypeError) and not messages.trail(error):
            raise
        raise ConfigurationError(explain(error)) from error


def explain(error):
    """Writes an exception's message with its place in the gin files; see `messages.explain`."""
    return messages.explain(error, _in_force.bindings)


def text_in_force():
    """Returns the whole configuration as one gin text; see `Configuration.text`."""
    return _in_force.text


def operative_text():
    """Returns, as gin text, the values that configured calls were made with, defaults too."""
    return gin.operative_config_str()


def _consented(module, place, trusted):
    """Returns the module of an `import` statement if the user has agreed to run its code."""
    if module.startswith("__gin__"):
        raise ConfigurationError(
            f"{place} is refused: it would let a gin file name any Python object; register classes with the "
            "decorators of vaeflow.registry"
        )
    if module not in trusted:
        raise ConfigurationError(
            f"{place} is not honoured: a gin file may run any code it imports; name the module with "
            f"--plugin={module} if you trust it"
        )
    return module


class _Delegate(gin.config_parser.ParserDelegate):
    """Keeps references and macros as plain values, where gin's own would look them up."""

    def configurable_reference(self, scoped_configurable_name, evaluate):
        *scopes, name = scoped_configurable_name.split("/")
        return syntax.Reference(tuple(scopes), name, evaluate)

    def macro(self, macro_name):
        return syntax.Macro(macro_name)


class _Reader:
    """Collects the statements of files and of what they include, without executing any.

    Attributes:
      bindings: `syntax.Binding`s, in order.
      imports: `(module, place)` pairs.
      files: the names of the files read.
    """

    def __init__(self):
        self.bindings = []
        self.imports = []
        self.files = []

    def read_file(self, path, allowed=(), chain=()):
        """Reads a file; `allowed` and `chain` are the first file's folder, and the files that led here."""
        if path.resolve() in chain:
            circle = " → ".join(gin_files.show(link) for link in [*chain, path.resolve()])
            raise ConfigurationError(f"gin files include one another in a circle: {circle}")
        name = gin_files.show(path)
        self.files.append(name)
        self._read(
            gin_files.read(path),
            lambda location: syntax.Location(
                f"{name}:{location.line_num}",
                location.line_content.strip(),
                "included" if chain else "given",
            ),
            path.parent,
            allowed or (path.parent,),
            (*chain, path.resolve()),
        )

    def read_parameter(self, text):
        """Reads the statement of one `--gin_param`."""
        place = syntax.Location(f"--gin_param={text!r}", "", "command line")
        self._read(text, lambda location: place, pathlib.Path(), (), ())

    def _read(self, text, locate, folder, allowed, chain):
        for statement in _parse(text, locate):
            self._collect(statement, locate(statement.location), folder, allowed, chain)

    def _collect(self, statement, location, folder, allowed, chain):
        if isinstance(statement, gin.config_parser.IncludeStatement):
            path = gin_files.find_included(statement.filename, folder, allowed, location.place)
            self.read_file(path, allowed, chain)
        elif isinstance(statement, gin.config_parser.ImportStatement):
            self.imports.append((statement.module, f"`{statement.format()}` ({location.place})"))
        elif isinstance(statement, gin.config_parser.BindingStatement):
            scope = tuple(filter(None, statement.scope.split("/")))
            name, parameter = statement.selector, statement.arg_name
            if not parameter:
                name, parameter = "", name
            self.bindings.append(syntax.Binding(scope, name, parameter, statement.value, location))


def _parse(text, locate):
    """Returns gin's statements; `locate` makes a `syntax.Location` of one of gin's."""
    try:
        parser = gin.config_parser.ConfigParser(text, _Delegate())
        return list(parser)
    except SyntaxError as error:
        line, message = error.lineno, _plain_syntax_message(error.msg)
    except tokenize.TokenError as error:
        line, message = error.args[1][0], f"{error.args[0]}; is a bracket or quote left open?"
    except (TypeError, RecursionError) as error:
        # A list as the key of a dict, or brackets in brackets without end: gin gives these no place.
        line, message = parser.current_token.start[0], str(error)
    lines = text.splitlines()
    line = min(line, len(lines))
    place = locate(gin.config_parser.Location(None, line, None, lines[line - 1]))
    raise ConfigurationError(f"{place}: {message}")


def _plain_syntax_message(message):
    """Rewords gin's message on a bare word, the likeliest slip: text without quotes."""
    word = re.search(r"Failed to parse token '(.*)'", message, re.DOTALL)
    if not word:
        return message
    return f"`{word[1]}` is not a value; write text in quotes, a class as @Name, a macro as %name"
