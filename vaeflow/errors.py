"""What can stop a run, and the exit code that says so."""


class RunError(Exception):
    """A failure with one clear message for the user and no traceback.

    The message says what arrived, what was expected and what to do.
    """

    exit_code = 1


class ConfigurationError(RunError, ValueError):
    """A bad command, gin file or setting; nothing was read or written."""

    exit_code = 2


class TrainingDiverged(RunError):
    """The loss or a gradient is not finite; the last good checkpoint is kept."""

    exit_code = 3


class EnvironmentFailure(RunError):
    """Disk, memory or an input source failed."""

    exit_code = 4


class DataError(EnvironmentFailure):
    """An input file is missing or unreadable; names the file and the record."""


class Preempted(RunError):
    """A signal asked the run to stop; its state is saved, run again to go on."""

    exit_code = 42
