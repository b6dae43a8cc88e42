"""The command that runs in this process, as the user called it."""

import contextlib
import dataclasses
import re
from collections.abc import Generator

_COMMAND = re.compile(r"\bvaeflow ([a-z]+(?:-[a-z]+)?)(?= |$|`|,|\.)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Program:
    """A command and the way it was called.

    Attributes:
      prefix: what the user types before the command: `"vaeflow "`, or the start of a module's
        name after `python -m`.
      command: the name of the command, e.g. `"local-cluster"`; may be empty.
    """

    prefix: str = "vaeflow "
    command: str = ""

    @property
    def invocation(self) -> str:
        """What the user typed, e.g. `python -m vaeflow train`."""
        return self.spell(self.command)

    @property
    def name(self) -> str:
        """How messages name the program, e.g. `vaeflow train`."""
        return self.invocation.removeprefix("python -m ")

    def spell(self, command: str) -> str:
        """Returns what the user types to call a command in the same way."""
        if self.prefix.endswith("."):
            command = command.replace("-", "_")
        return f"{self.prefix}{command}".strip()

    def respell(self, text: str) -> str:
        """Rewrites each `vaeflow <command>` of a text as the user would type it."""
        return _COMMAND.sub(lambda found: self.spell(found[1]), text)


current = Program()


@contextlib.contextmanager
def running(program: Program) -> Generator[None]:
    """Makes a program the current one while the block runs."""
    global current
    previous, current = current, program
    try:
        yield
    finally:
        current = previous
