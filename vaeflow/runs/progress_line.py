"""The progress line on stderr: rewritten in a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from vaeflow.runs.escaping import printable

_BAR_WIDTH = 20
_USUAL_WIDTH = 80  # Where a terminal does not say how wide it is.


class ProgressLine:
    """Shows how far something is, for a `with`.

    A terminal shows the newest state, which replaces the one before; where it does not fit into one
    row it takes several, so no number is cut off. Elsewhere each state is a line, whatever its length.

    Args:
      every_seconds: plain lines come no more often than this.
      stays: True for a line that is shown from the start and stays at the end; False for one that is
        of interest only while it lasts: a terminal clears it at the end, and a plain line comes only
        once `every_seconds` have passed.
    """

    def __init__(self, every_seconds: float = 0.0, stays: bool = True) -> None:
        self._file = sys.stderr
        self._console = Console(
            file=self._file,
            force_terminal=self._file.isatty(),
            no_color=True,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._rewrites = self._file.isatty() and not self._console.is_dumb_terminal
        self._every_seconds = every_seconds
        self._stays = stays
        self._next_line = 0.0 if stays else time.monotonic() + every_seconds
        self._live: Live | None = None
        self._rows = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def print(self, text: str) -> None:
        """Prints a line that stays, above the state that is shown."""
        self._print([text])

    def print_parts(self, parts: Sequence[str]) -> None:
        """Prints parts as a line that stays; a terminal shows each part in one piece."""
        self._print(
            _in_rows([printable(part) for part in parts], self._columns())
            if self._rewrites
            else ["  ".join(parts)]
        )

    def update(self, parts: Sequence[str], fraction: float | None = None, last: bool = False) -> None:
        """Shows a new state.

        Args:
          parts: what the line says, e.g. `("step 5/20", "1,000 images/s")`.
          fraction: how much is done, 0 to 1, for a bar in front in a terminal; None for no bar.
          last: True for a state that must not be left out.
        """
        if self._rewrites:
            bar = [] if fraction is None else [_bar(fraction)]
            self._rewrite([printable(part) for part in (*bar, *parts)])
        elif last or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self._every_seconds
            self.print_parts(parts)

    def close(self) -> None:
        """Ends the line: a terminal keeps it or clears it, and shows what is printed next below."""
        if self._live is not None:
            self._live.update(Text(self._rows))
            self._live.stop()
            self._live = None

    def _print(self, rows: Sequence[str]) -> None:
        text = "".join(printable(row) + "\n" for row in rows)
        if self._live is None:
            self._file.write(text)
            self._file.flush()
        else:
            self._console.print(Text(text, overflow="fold"), end="")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._file.fileno()).columns or _USUAL_WIDTH
        except OSError:  # The terminal was closed.
            return _USUAL_WIDTH

    def _rewrite(self, parts: Sequence[str]) -> None:
        columns = self._columns()
        self._console.width = columns
        self._rows = "\n".join(_in_rows(parts, columns))
        if self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=not self._stays,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="visible",
            )
            self._live.start()
            # A run may be killed, and would leave the terminal without a cursor.
            self._console.show_cursor(True)
        # With an empty row below, an error that ends the run does not stick to the line.
        self._live.update(Text(self._rows + "\n", overflow="fold"), refresh=True)


def _in_rows(parts: Sequence[str], columns: int) -> list[str]:
    """Joins parts to rows that fit into a terminal; a part that does not is broken between its words."""
    rows: list[str] = []
    for part in parts:
        whole = [part] if len(part) <= columns else part.split()
        for index, piece in enumerate(whole):
            gap = "  " if index == 0 else " "
            if rows and len(rows[-1]) + len(gap) + len(piece) <= columns:
                rows[-1] += f"{gap}{piece}"
            else:
                rows.append(piece)
    return rows


def _bar(fraction: float) -> str:
    done = int(_BAR_WIDTH * fraction)
    return "█" * done + "░" * (_BAR_WIDTH - done)
