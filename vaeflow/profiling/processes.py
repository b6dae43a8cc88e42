"""Starts the processes that measure, one after the other, and tells why one failed."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import tempfile

from vaeflow import errors
from vaeflow.devices import allocator
from vaeflow.errors import EnvironmentFailure
from vaeflow.runs import interpreter, json_files, processes

_LAST_LINES = 3


@dataclasses.dataclass(frozen=True)
class Measurer:
    """Measures cases of one configuration.

    Attributes:
      configuration: the path of a gin file that holds all of it.
      plugins: modules that the configuration needs.
      seconds: how long each case is measured, after a warm-up.
      virtual: whether devices are made by splitting, also where there are GPUs.
    """

    configuration: str
    plugins: tuple
    seconds: float
    virtual: bool = False

    def measure(self, case, arithmetic=False, trace=None):
        """Measures a case in a fresh process.

        Args:
          case: a `Case`.
          arithmetic: whether operations are counted, and the device's rate measured.
          trace: the folder for a trace of a few steps, or None.

        Returns:
          A dict, see `process.measure`.

        Raises:
          RunError: the process ended with its exit code, and this message.
        """
        request = dataclasses.asdict(self) | {
            "settings": dict(case.settings),
            "devices": case.devices,
            "arithmetic": arithmetic,
            "trace": trace,
        }
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            folder = pathlib.Path(folder)
            (folder / "request.json").write_text(json_files.dumps(request), encoding="utf-8")
            code = _run(folder)
            answer = folder / "answer.json"
            answer = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
            if code or "measured" not in answer:
                message = answer.get("error")
                if message is not None:
                    # The user's own files have other lines.
                    message = re.sub(rf"{re.escape(self.configuration)}:\d+: ", "", message)
                raise _failure(
                    code, message, (folder / "output").read_text(encoding="utf-8", errors="replace")
                )
            return answer["measured"]


def _run(folder):
    """Runs the process to its end, which comes with ours too; returns its exit code."""
    paths = [str(folder / name) for name in ("request.json", "answer.json")]
    command = interpreter.command("vaeflow.profiling.process", *paths)
    with (
        (folder / "output").open("wb") as output,
        processes.child(command, stdout=output, stderr=output, env=allocator.tuned(os.environ)) as process,
    ):
        return process.wait()


def _failure(code, message, output):
    """Makes the exception that says how a measuring process ended."""
    if message is not None:
        kinds = [each for each in vars(errors).values() if isinstance(each, type)]
        kinds = {each.exit_code: each for each in kinds if issubclass(each, errors.RunError)}
        return kinds.get(code, EnvironmentFailure)(message)
    if code == -signal.SIGKILL:
        return EnvironmentFailure(
            "a measuring process was killed (SIGKILL), as Linux does when memory runs out; lower "
            "`train.batch_size`"
        )
    how = f"code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return EnvironmentFailure(f"a measuring process ended with {how}: {' | '.join(lines[-_LAST_LINES:])}")
