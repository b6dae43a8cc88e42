"""What a study shows while it runs: one line for people."""

import math
import time
from collections.abc import Sequence

from vaeflow.commands.studies.outcomes import Outcome
from vaeflow.commands.studies.place import Job
from vaeflow.errors import EXIT_CODES
from vaeflow.runs import program, watchdog
from vaeflow.runs.progress_line import ProgressLine

_EVERY_SECONDS = 60.0
_MOST_NAMED = 4
_NAMES = {code.number: code.name for code in EXIT_CODES}


class StudyProgress:
    """Shows how far a study is; for a `with`.

    Args:
      num_runs: how many runs the study has.
      num_done: how many of them are done already.
      num_jobs: how many this process carries out.
    """

    def __init__(self, num_runs: int, num_done: int, num_jobs: int) -> None:
        self._num_runs = num_runs
        self._num_done = num_done
        self._num_failed = 0
        self._num_abandoned = 0
        self._num_left = num_jobs
        self._num_ended = 0
        self._started = time.monotonic()
        self._line = ProgressLine(_EVERY_SECONDS)

    def __enter__(self) -> "StudyProgress":
        self._line.__enter__()
        watchdog.progress("the runs of the study, which have watchdogs of their own", math.inf)
        return self

    def __exit__(self, *exception: object) -> None:
        self._line.close()

    def show(self, running: Sequence[Job]) -> None:
        """Shows the state, with the names of the runs under way."""
        names = [job.run.name for job in running]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        parts = [
            f"{self._num_done} of {self._num_runs} runs done",
            *([f"{self._num_failed} failed"] if self._num_failed else []),
            *([f"{self._num_abandoned} abandoned"] if self._num_abandoned else []),
            *([f"running {', '.join(names[:_MOST_NAMED])}{more}"] if names else []),
            *([f"about {_duration(self._seconds_left())} left"] if self._num_ended else []),
        ]
        self._line.update(parts, self._num_done / self._num_runs)

    def end(self, outcome: Outcome, log: str) -> None:
        """Counts a run that has ended, and says so if it failed."""
        self._num_ended += 1
        self._num_left -= 1
        if outcome.state == "done":
            self._num_done += 1
        elif outcome.state == "abandoned":
            self._num_abandoned += 1
        elif outcome.state == "failed":
            self._num_failed += 1
            self.say(f"{described(outcome)}; its output is in {log}")

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        self._line.print(f"{program.current.name}: {text}")

    def _seconds_left(self) -> float:
        return (time.monotonic() - self._started) / self._num_ended * self._num_left


def described(outcome: Outcome) -> str:
    """Says how a run ended, in one line if its message is one."""
    name, code = outcome.run.name, outcome.exit_code
    kind = f" ({_NAMES[code]})" if code in _NAMES else ""
    how = f"{name} {outcome.state}" + (f" with code {code}{kind}" if code is not None else "")
    return f"{how}: {outcome.message}" if outcome.message else how


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
