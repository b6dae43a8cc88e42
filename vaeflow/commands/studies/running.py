"""A job of a study under way on this machine: its commands, one process after another."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping

from vaeflow.commands.studies.place import Job, JobEnd
from vaeflow.errors import FINISHED, EnvironmentFailure, Preempted
from vaeflow.runs import files, interpreter, processes, reading

_MOST_BYTES = 1 << 16
_MESSAGE = re.compile(r"^vaeflow(?: [\w-]+)?: (?:error|preempted): ", re.MULTILINE)


class RunningJob:
    """A job under way; when this process dies, all that it has started is killed.

    Use it in one thread, which must live as long as the job, and `close` it.

    Args:
      job: the job.
      environment: variables to add to this process's.
      cores: the numbers of the CPU cores for it; None for all that this process may use.

    Raises:
      EnvironmentFailure: the log cannot be written, or no process can be started.
    """

    def __init__(
        self, job: Job, environment: Mapping[str, str] | None = None, cores: Collection[int] | None = None
    ) -> None:
        self.job = job
        self._environment = {**os.environ, **(environment or {})}
        self._cores = cores
        self._started = time.monotonic()
        self._commands = iter(job.commands)
        self._is_stopping = False
        self._stack = contextlib.ExitStack()
        log = pathlib.Path(job.log)
        self._log_start = log.stat().st_size if log.exists() else 0
        self._process = self._start(next(self._commands))

    def poll(self) -> JobEnd | None:
        """Starts the next command once one has finished; returns the end of the job, None before it."""
        code = processes.exit_code(self._process)
        if code is None:
            return None
        self._stack.close()
        code = code if code >= 0 else 128 - code
        if code == FINISHED and (command := next(self._commands, None)) is not None:
            if not self._is_stopping:
                self._process = self._start(command)
                return None
            return self._end(Preempted.exit_code, f"stopped before `vaeflow {command[0]}`")
        return self._end(code, "" if code == FINISHED else self._message(code))

    def stop(self) -> None:
        """Asks the process under way, once, to save its state and end."""
        if not self._is_stopping:
            self._is_stopping = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)

    def close(self) -> None:
        """Kills what still runs."""
        self._stack.close()

    def _start(self, arguments: tuple[str, ...]) -> subprocess.Popen:
        command = interpreter.command("vaeflow", *arguments)
        try:
            with files.appending(pathlib.Path(self.job.log)) as log, _on_cores(self._cores):
                options = {"env": self._environment, "stdout": log, "stderr": subprocess.STDOUT}
                # A group of its own, so that Ctrl-C in the terminal arrives once, from here.
                process = self._stack.enter_context(processes.child(command, process_group=0, **options))
                self._stack.enter_context(processes.groups_end_with_us([process.pid]))
        except OSError as error:
            self._stack.close()
            raise EnvironmentFailure(
                f"`vaeflow {arguments[0]}` cannot be started for {self.job.run.name}: {error}"
            ) from error
        return process

    def _end(self, code: int, message: str) -> JobEnd:
        return JobEnd(self.job, code, message, time.monotonic() - self._started)

    def _message(self, code: int) -> str:
        """Returns the message at the end of the log, or says what else is known."""
        with contextlib.suppress(OSError), reading.opened(pathlib.Path(self.job.log)) as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _MOST_BYTES))
            text = log.read().decode(errors="replace").strip()
            if found := list(_MESSAGE.finditer(text)):
                return text[found[-1].end() :]
            if code <= 128 and text:
                return text.splitlines()[-1]  # Of a traceback.
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(code - 128).name}"
        return ""


@contextlib.contextmanager
def _on_cores(cores: Collection[int] | None) -> Iterator[None]:
    """Lets a process that is started inside use these cores only, from its first instruction on."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
