"""A limit to the time of a process, and whether what comes next would still be done in it."""

import collections
import contextlib
import time
from collections.abc import Generator

SAVE = "save"
_LONGEST_RESERVE = 30.0
_RESERVE = 0.05


class TimeLimit:
    """How long a process may take, and how long the kinds of its work took.

    Each kind of work is expected to take as long as it did the last time; what was not done yet, no time.
    A reserve of 5 % of the limit, at most 30 s, stays for what was not foreseen.

    Args:
      max_seconds: the limit.
      started: when the process began, of `time.monotonic`.
    """

    def __init__(self, max_seconds: float, started: float) -> None:
        self.max_seconds = max_seconds
        self._end = started + max_seconds - min(_LONGEST_RESERVE, _RESERVE * max_seconds)
        self._last: dict[str, float] = collections.defaultdict(float)

    @contextlib.contextmanager
    def timing(self, work: str) -> Generator[None]:
        """Notes how long the work inside takes, of a kind that has a name."""
        began = time.monotonic()
        yield
        self.note(work, time.monotonic() - began)

    def note(self, work: str, seconds: float) -> None:
        """Notes how long work of a kind took, or would take."""
        self._last[work] = seconds

    def leaves_time_for(self, *works: str) -> bool:
        """Whether work of some kinds, one after the other, and then a save, would end in time."""
        needed = sum(self._last[work] for work in (*works, SAVE))
        return time.monotonic() + needed < self._end
