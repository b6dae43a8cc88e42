"""The runner's end of `benchmarks.protocol`: starts programs, sends them commands, ends them."""

import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import time

from benchmarks import load

REPOSITORY = pathlib.Path(__file__).parents[1]
_ANSWER_SECONDS = 600
_END_SECONDS = 120


class ProgramError(Exception):
    """A program ended or does not answer; the message is the last line it printed."""


class Program:
    """A started program, which waits for commands after its first answer.

    Use it in a `with` statement, which leaves no process behind.

    Args:
      line: the `Line` it belongs to.
      python: the interpreter.
      workload: the name of the workload.
      folder: a folder of its own, made if needed. Its standard error goes to `log.txt` there; its state
        goes to `state`, since vaeflow takes no work folder with other files in it.

    Attributes:
      line: see above.
      facts: its first answer, a dict.
      start_seconds: from its start to the end of its first training step.

    Raises:
      ProgramError: it ended before its first answer.
    """

    def __init__(self, line, python, workload, folder):
        self.line = line
        folder = pathlib.Path(folder).resolve()
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        self._log = folder / "log.txt"
        if line.needs_compiler and not _has_compiler():
            raise ProgramError("no C++ compiler (g++ or clang++)")
        # No program may profit from what another one compiled.
        environment = line.environment(os.environ) | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
        began = time.monotonic()
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                line.command(python, workload, state),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                cwd=REPOSITORY,
                env=environment,
                # In a group of its own with the processes that it starts, so that all end together.
                start_new_session=True,
            )
        try:
            self.facts = self._answer(_ANSWER_SECONDS)
        except BaseException:
            self.close()
            raise
        self.start_seconds = time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, seconds):
        """Lets it train for a window.

        Returns:
          Its answer, a dict, with `others_cores`: how many cores all other processes used meanwhile.
        """
        began, others = time.monotonic(), -self._cpu_seconds_of_others()
        self._send(f"run {seconds}")
        answer = self._answer(seconds + _ANSWER_SECONDS)
        others += self._cpu_seconds_of_others()
        return answer | {"others_cores": max(0.0, others / (time.monotonic() - began))}

    def end(self):
        """Asks it to save its state, if it can, and to exit."""
        self._send("end")
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProgramError(f"it did not end within {_END_SECONDS} s") from None
        if self._process.returncode:
            raise ProgramError(self._last_words())

    def close(self):
        """Kills its process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _cpu_seconds_of_others(self):
        try:
            return load.cpu_seconds_of_machine() - load.cpu_seconds_of_session(self._process.pid)
        except OSError:
            raise ProgramError(self._last_words()) from None

    def _send(self, command):
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProgramError(self._last_words()) from None

    def _answer(self, seconds):
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise ProgramError(f"no answer within {seconds:.0f} s")
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            raise ProgramError(self._last_words())
        return json.loads(answer)

    def _last_words(self):
        said = [
            text.strip()
            for text in self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            if text.strip()
        ]
        return said[-1] if said else f"exit code {self._process.returncode}, without a word"


def _has_compiler():
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "g++", "clang++"))
