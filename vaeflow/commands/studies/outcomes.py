"""How each run of a study ended: all that tables, pictures and a search read of it."""

import dataclasses
from typing import Any, Literal

from vaeflow.commands.studies.plan import PlannedRun

State = Literal["done", "failed", "stopped", "abandoned", "missing"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run of a study ended.

    Attributes:
      run: the run.
      state: `"done"`: trained, with every command of `study.after`, and recorded; `"failed"`;
        `"stopped"` by a signal, with its state saved; `"abandoned"`, likewise, by the search, as others
        promise more; `"missing"`: not run yet.
      record: of a run that is done, what `vaeflow record` writes, with its evaluation; else None.
      message: the one message of a run that failed or was stopped; may be empty.
      exit_code: of the command that ended it, see `errors.EXIT_CODES`; 128 + n if signal n killed it;
        None for a run that is missing.
      seconds: the time that the training has taken, over all its starts; for a run that failed, the
        time until it did; None where nothing says so.
    """

    run: PlannedRun
    state: State
    record: dict[str, Any] | None = None
    message: str = ""
    exit_code: int | None = None
    seconds: float | None = None
