"""Reads the statements of gin files and overrides, without executing any."""

import functools
import pathlib
import re
import tokenize
from collections.abc import Sequence

from gin import config_parser

from vaeflow.config import files as gin_files
from vaeflow.config import limits, syntax
from vaeflow.errors import ConfigurationError


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as plain values; gin's own delegate would look them up."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> syntax.Reference:
        *scopes, name = scoped_configurable_name.split("/")
        limits.check_scopes(scopes, f"@{limits.shortened(scoped_configurable_name)}")
        return syntax.Reference(tuple(scopes), name, evaluate)

    def macro(self, macro_name: str) -> syntax.Macro:
        return syntax.Macro(macro_name)


class Reader:
    """Collects the statements of files and of the files they include, without executing any.

    Attributes:
      bindings: the bindings, in order.
      imports: `(module, place)` pairs.
      files: the names of the files that were read.
    """

    def __init__(self) -> None:
        self.bindings: list[syntax.Binding] = []
        self.imports: list[tuple[str, str]] = []
        self.files: list[str] = []
        self._words = 0

    def read_file(
        self, path: pathlib.Path, allowed: Sequence[pathlib.Path] = (), chain: Sequence[pathlib.Path] = ()
    ) -> None:
        """Reads a file.

        Args:
          path: the file.
          allowed: the folder of the file that was given first; empty for that file itself.
          chain: the files whose `include` led here.
        """
        if path.resolve() in chain:
            circle = " → ".join(gin_files.show(link) for link in [*chain, path.resolve()])
            raise ConfigurationError(f"gin files include one another in a circle: {circle}")
        name = gin_files.show(path)
        if len(self.files) == limits.MOST_FILES:
            raise ConfigurationError(
                f"{name}: the gin files include more than {limits.MOST_FILES} files, some of them perhaps "
                "again and again"
            )
        self.files.append(name)
        self._read(
            gin_files.read(path),
            lambda location: syntax.Location(
                f"{name}:{location.line_num}",
                limits.shortened(location.line_content.strip()),
                "included" if chain else "given",
            ),
            path.parent,
            allowed or (path.parent,),
            (*chain, path.resolve()),
        )

    def read_parameter(self, text: str, origin: str = "command line") -> syntax.Location:
        """Reads the statement of one `--gin_param`; returns its place.

        Args:
          text: the statement.
          origin: as in `syntax.Location`.
        """
        place = syntax.Location(f"--gin_param={limits.shortened(text)!r}", "", origin)
        self._read(text, lambda _location: place, pathlib.Path(), (), ())
        return place

    def _read(self, text, locate, folder, allowed, chain):
        self._words = limits.count_words(text, functools.partial(_place, locate), self._words)
        for statement in _parse(text, locate):
            self._collect(statement, locate(statement.location), folder, allowed, chain)

    def _collect(self, statement, location, folder, allowed, chain):
        if isinstance(statement, config_parser.IncludeStatement):
            path = gin_files.find_included(statement.filename, folder, allowed, location.place)
            self.read_file(path, allowed, chain)
        elif isinstance(statement, config_parser.ImportStatement):
            self.imports.append((statement.module, f"`{statement.format()}` ({location.place})"))
        elif isinstance(statement, config_parser.BindingStatement):
            scope = tuple(filter(None, statement.scope.split("/")))
            limits.check_scopes(scope, location.place)
            name, parameter = statement.selector, statement.arg_name
            if not parameter:
                name, parameter = "", name
            self.bindings.append(syntax.Binding(scope, name, parameter, statement.value, location))


def _place(locate, line, content):
    return locate(config_parser.Location(None, line, None, content)).place


def _parse(text, locate):
    """Returns gin's statements; `locate` turns gin's locations into `syntax.Location`s."""
    parser = None
    try:
        parser = config_parser.ConfigParser(text, _Delegate())
        return list(parser)
    except SyntaxError as error:
        line, message = error.lineno or 1, _plain_syntax_message(error.msg)
    except tokenize.TokenError as error:
        line, message = error.args[1][0], f"{error.args[0]}; is a bracket or quote left open?"
    except ConfigurationError:
        raise
    except (TypeError, ValueError) as error:
        # A list as the key of a dict, or a character that Python refuses: gin's error has no place.
        token = parser.current_token if parser else None
        line, message = token.start[0] if token else 1, str(error)
    lines = text.splitlines()
    line = min(line, len(lines))
    place = locate(config_parser.Location(None, line, None, lines[line - 1]))
    raise ConfigurationError(f"{place}: {message}")


def _plain_syntax_message(message):
    """Rewords gin's message about a bare word, the most likely slip: text without quotes."""
    word = re.search(r"Failed to parse token '(.*)'", message, re.DOTALL)
    if not word:
        return message
    return f"`{word[1]}` is not a value; write text in quotes, a class as @Name, a macro as %name"
