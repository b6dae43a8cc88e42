"""Where every command starts: `vaeflow train`, `python -m vaeflow train`, or a module of a clone.

The import path, the standard streams, the signals and the allocator are set up first, so the other
imports wait inside functions.
"""

import functools
import os
import sys

from vaeflow.commands import programs
from vaeflow.runs import interpreter

_COMPUTING = ("train", "evaluate", "sample", "embed", "encode", "export", "verify")


def main() -> int:
    """Runs the command that the first argument names; returns the exit code where there is none."""
    is_module = sys.modules["__main__"].__spec__ is not None
    prefix = "python -m vaeflow " if is_module else "vaeflow "
    name, *arguments = sys.argv[1:] or [""]
    if name in programs.NAMES:
        start(name, prefix, arguments)
    _prepare(tuned=False)
    from vaeflow.commands import overview

    return overview.main(prefix, name)


def start(name: str, prefix: str, arguments: list[str] | None = None) -> None:
    """Runs a command and ends the process with its exit code.

    Args:
      name: one of `programs.NAMES`.
      prefix: what the user typed before it; see `Program`.
      arguments: what the user typed after it; None for all of this process's arguments.
    """
    _prepare(tuned=name in _COMPUTING)
    from vaeflow.commands import command_line
    from vaeflow.runs import ending

    arguments = sys.argv[1:] if arguments is None else arguments
    ending.run_and_exit(functools.partial(command_line.main, programs.load(name), arguments, prefix))


def _prepare(tuned: bool) -> None:
    interpreter.leave_current_folder()
    os.environ["KERAS_BACKEND"] = "tensorflow"  # Whatever it says, or `~/.keras/keras.json`.
    from vaeflow.devices import allocator
    from vaeflow.runs import signals, streams

    streams.protect()
    with signals.held_back():
        environment = interpreter.with_utf8(dict(os.environ))
        allocator.restart(allocator.tuned(environment) if tuned else environment)
        signals.watch()
