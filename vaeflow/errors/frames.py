"""Finds the user's own lines in an exception: in its traceback, or in the message of a graph."""

import ast
import contextlib
import inspect
import linecache
import pathlib
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

_OWN_FOLDER = str(pathlib.Path(__file__).parents[1].resolve())
_STANDARD_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]([^/\\.]+)")

# A frame as TensorFlow writes it into a message: of a function that autograph converted, of an
# operation in a graph, or of a Python function that a graph calls.
IN_MESSAGE = re.compile(
    r'^ *File "([^"\n]+)", line (\d+), in ([^\n]*?)[ *]*$(?:\n {4,}\S[^\n]*)*', re.MULTILINE
)

_MOST_FRAMES = 6

# Installed packages whose code is the user's, too: plug-ins.
_plugin_packages: set[str] = set()


class Frame(NamedTuple):
    """A line of the user's code that was running when an exception was raised.

    Attributes:
      path: of the file.
      line: its number, from 1.
      name: of the function.
      source: the text of the line, or an empty string.
    """

    path: str
    line: int
    name: str
    source: str

    def __str__(self) -> str:
        return f"{_shown(self.path)}:{self.line}, in {self.name}: {self.source}".rstrip(": ")


def note_package(module: str) -> None:
    """Counts the top-level package of a module as the user's code, although it is installed."""
    _plugin_packages.add(module.partition(".")[0])


def own_frames(error: BaseException) -> list[Frame]:
    """Finds the user's own lines in an exception, the innermost last.

    They are in its traceback, or, where a graph or a converted function failed, in the
    message; if it has none, in those of the exception that it was raised from.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        found = [*_of_traceback(current.__traceback__), *_of_message(str(current)), *_of_syntax(current)]
        frames = [frame for frame in dict.fromkeys(found) if _is_users_file(frame.path)]
        if frames:
            return frames
        current = current.__cause__ or current.__context__
    return []


def shown(frames: Iterable[Frame]) -> str:
    """Returns the frames as lines of a message, each after a line break; of many the innermost."""
    return "".join(f"\n  {frame}" for frame in list(frames)[-_MOST_FRAMES:])


def definition(owner: Any, doing: str) -> list[Frame]:
    """Returns where the user defines a method, or else the class, or a function, as a frame."""
    defined = owner if hasattr(owner, "__qualname__") else type(owner)
    for named in (getattr(defined, doing, None), defined):
        with contextlib.suppress(OSError, TypeError):
            target: Any = inspect.unwrap(named)  # pyright: ignore[reportArgumentType]
            path, line = inspect.getsourcefile(target), inspect.getsourcelines(target)[1]
            if path and _is_users_file(path):
                return [_frame(path, line, target.__qualname__)]
    return []


def is_own(path: str) -> bool:
    """Whether a file is vaeflow's."""
    return str(pathlib.Path(path).resolve()).startswith(_OWN_FOLDER + "/")


def _of_traceback(trace: TracebackType | None) -> Iterator[Frame]:
    for frame, line in traceback.walk_tb(trace):
        code = frame.f_code
        yield _frame(code.co_filename, line, code.co_qualname, frame.f_globals)


def _of_message(text: str) -> list[Frame]:
    found = [(path, int(line), name) for path, line, name in IN_MESSAGE.findall(text)]
    # The user's frames before vaeflow's are those of the program that called it.
    first = next((at for at, (path, *_) in enumerate(found) if is_own(path)), 0)
    return [_frame(path, line, _qualified(path, line, name)) for path, line, name in found[first:]]


def _qualified(path: str, line: int, name: str) -> str:
    """Returns the name of a function with its class, which a message leaves out."""
    if not _is_users_file(path):
        return name
    try:
        tree = ast.parse("".join(linecache.getlines(path)))
    except (SyntaxError, ValueError):
        return name
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [each for each in ast.walk(tree) if isinstance(each, kinds)]
    around = [each for each in found if each.lineno <= line <= (each.end_lineno or 0)]
    names = [each.name for each in sorted(around, key=lambda each: each.lineno)]
    return ".".join(names) if names and names[-1] == name else name


def _of_syntax(error: BaseException) -> Iterator[Frame]:
    if isinstance(error, SyntaxError) and error.filename:
        yield Frame(error.filename, error.lineno or 1, "<module>", (error.text or "").strip())


def _frame(path: str, line: int, name: str, names: dict[str, Any] | None = None) -> Frame:
    return Frame(path, line, name.replace(".<locals>", ""), linecache.getline(path, line, names).strip())


def _is_users_file(path: str) -> bool:
    if path.startswith("<"):
        return path.startswith(("<ipython", "<stdin"))
    if pathlib.Path(path).name.startswith("__autograph_generated_file"):
        return False
    if installed := _INSTALLED.search(path):
        return installed[1] in _plugin_packages
    return not is_own(path) and not path.startswith(_STANDARD_LIBRARY)


def _shown(path: str) -> str:
    """Returns a path as people read it: relative to the current folder if it is below it."""
    with contextlib.suppress(ValueError, OSError):
        return str(pathlib.Path(path).relative_to(pathlib.Path.cwd()))
    return path
