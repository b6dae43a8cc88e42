"""The errors that can stop a run, and the exit codes of all commands."""

import dataclasses


class RunError(Exception):
    """A failure with one clear message for the user and no traceback.

    The message says what arrived, what was expected and what to do.
    """

    exit_code = 1
    shows_code = False  # Whether the message shows the lines of the user's code that caused it.


class ConfigurationError(RunError, ValueError):
    """A bad command, gin file or setting; nothing was read or written."""

    exit_code = 2


class TrainingDiverged(RunError):
    """A loss, gradient, weight or evaluation is not finite; the last good checkpoint is kept."""

    exit_code = 3


class EnvironmentFailure(RunError):
    """The disk, the memory, another worker or an input source failed."""

    exit_code = 4


class DataError(EnvironmentFailure):
    """An input file is missing or unreadable; the message names the file and the record."""


class WorkerLost(EnvironmentFailure):
    """Another worker failed, froze or never came; the message names it.

    Args:
      message: says which worker, and how it was lost.
      exit_code: how this process ends for it: as the other did, if another start would repeat that.
    """

    def __init__(self, message: str, exit_code: int = EnvironmentFailure.exit_code) -> None:
        super().__init__(message)
        self._exit_code = exit_code

    @property
    def exit_code(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As given. gin raises a copy of an exception, which has the attributes of the class only."""
        return self._exit_code


class Preempted(RunError):
    """A signal asked the run to stop; its state is saved, and the same command resumes it."""

    exit_code = 42


@dataclasses.dataclass(frozen=True)
class ExitCode:
    """One way for a command to end.

    Attributes:
      number: what the shell sees.
      name: one word for it.
      meaning: a sentence for people.
      is_final: True for a failure that another start of the same command would repeat.
    """

    number: int
    name: str
    meaning: str
    is_final: bool = False


FINISHED = 0
DIFFERENT = 5
INTERRUPTED = 130

EXIT_CODES = (
    ExitCode(FINISHED, "finished", "the command did what it was asked to do"),
    ExitCode(RunError.exit_code, "defect", "an error that vaeflow does not expect, with a traceback"),
    ExitCode(ConfigurationError.exit_code, "configuration", "a bad command or setting", is_final=True),
    ExitCode(
        TrainingDiverged.exit_code,
        "diverged",
        "a loss, gradient, weight or evaluation is not finite",
        is_final=True,
    ),
    ExitCode(EnvironmentFailure.exit_code, "environment", "the disk, the data, memory or a worker failed"),
    ExitCode(DIFFERENT, "different", "`verify` found that a run is not what it says", is_final=True),
    ExitCode(Preempted.exit_code, "preempted", "a signal stopped the run, and its state is saved"),
    ExitCode(129, "hung up", "SIGHUP (the terminal was closed) ended the command at once"),
    ExitCode(INTERRUPTED, "interrupted", "Ctrl-C (SIGINT) ended the command at once"),
    ExitCode(143, "terminated", "SIGTERM ended the command at once"),
)

# Ends of a worker that are no failure: the others need not end for them.
REGULAR_ENDS = frozenset({FINISHED, Preempted.exit_code})
FINAL_ENDS = frozenset(code.number for code in EXIT_CODES if code.is_final)
