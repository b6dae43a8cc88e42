"""Asks a process of its own for an answer, in JSON, and says why there is none.

    found = asking.ask("vaeflow.profiling.process", request, "a measuring process", os.environ)

runs that module, which calls `asking.answer` with the function that answers.
"""

import contextlib
import functools
import json
import math
import pathlib
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from absl import logging

from vaeflow import errors
from vaeflow.errors import EnvironmentFailure, RunError
from vaeflow.runs import ending, interpreter, json_files, processes, watchdog
from vaeflow.runs.watchdog import Watchdog

_LAST_LINES = 3


def ask(module: str, request: Mapping[str, Any], called: str, environment: Mapping[str, str]) -> Any:
    """Runs one of vaeflow's modules in a fresh process, which ends with this one.

    Args:
      module: its name; it calls `answer`.
      request: what JSON can hold.
      called: how messages call the process, e.g. `"a measuring process"`.
      environment: its variables.

    Returns:
      What the module answers; what is not finite became None.

    Raises:
      RunError: the process ended with its exit code, and this message.
    """
    with tempfile.TemporaryDirectory(prefix="vaeflow-") as temporary:
        folder = pathlib.Path(temporary)
        (folder / "request.json").write_text(json_files.dumps(request), encoding="utf-8")
        command = interpreter.command(module, str(folder / "request.json"), str(folder / "answer.json"))
        watchdog.progress(f"{called}, which has a watchdog of its own", math.inf)
        with (
            (folder / "output").open("wb") as output,
            processes.child(command, stdout=output, stderr=output, env=environment) as process,
        ):
            code = process.wait()
        watchdog.progress(f"what {called} answered")
        path = folder / "answer.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if code or "answer" not in found:
            printed = (folder / "output").read_text(encoding="utf-8", errors="replace")
            raise _failure(called, code, found.get("error"), printed)
        return found["answer"]


def answer(
    compute: Callable[[dict[str, Any]], Any], explain: Callable[[BaseException], str] = str
) -> NoReturn:
    """Answers what `ask` wants to know, and ends the process that it has started.

    Args:
      compute: called with the request; returns what JSON can hold.
      explain: makes the message of an error.
    """
    ending.run_and_exit(functools.partial(_answer, compute, explain))


def _answer(compute: Callable[[dict[str, Any]], Any], explain: Callable[[BaseException], str]) -> int:
    """Writes the answer, or why there is none; returns the exit code."""
    request, path = map(pathlib.Path, sys.argv[1:])
    logging.set_verbosity(logging.ERROR)  # Warnings of the configuration were shown by the command.
    try:
        with Watchdog(resumes=False):
            found, code = {"answer": compute(json.loads(request.read_text(encoding="utf-8")))}, 0
    except RunError as error:
        found, code = {"error": explain(error)}, error.exit_code
    path.write_text(json_files.dumps(found), encoding="utf-8")
    return code


def _failure(called: str, code: int, message: str | None, output: str) -> RunError:
    """Makes the exception that says how the process ended."""
    if message is not None:
        kinds = [each for each in vars(errors).values() if isinstance(each, type)]
        of_code = {each.exit_code: each for each in kinds if issubclass(each, RunError)}
        return of_code.get(code, EnvironmentFailure)(message)
    if code == -signal.SIGKILL:
        return EnvironmentFailure(
            f"{called} was killed (SIGKILL), as Linux does when memory runs out; lower `train.batch_size`"
        )
    how = f"code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name
    lines = [line.strip() for line in re.split(r"[\r\n]+", output) if line.strip()]
    return EnvironmentFailure(f"{called} ended with {how}: {' | '.join(lines[-_LAST_LINES:])}")
