"""Measures one workload: all its programs in turn, round after round, then their resumes."""

import contextlib
import dataclasses
import pathlib
import shutil

from benchmarks import lines
from benchmarks.processes import Program, ProgramError
from benchmarks.workloads import WORKLOADS
from vaeflow.errors import RunError

_WARM_UP_SECONDS = 1.0
_OF_A_WINDOW = ("images", "steps", "seconds", "others_cores")


class DifferentNetsError(RunError):
    """The programs do not train the same net, so they cannot be compared; nothing is measured."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
      num_rounds: how often each program trains.
      seconds: how long it trains each time.
      python: the interpreter that runs vaeflow and Keras.
      peers_python: the interpreter that runs pythae and PyTorch.
      folder: where programs keep their state and logs.
      log: called with each line of progress.
    """

    num_rounds: int
    seconds: float
    python: str
    peers_python: str
    folder: pathlib.Path
    log: callable


def measure(name, settings):
    """Measures a workload.

    Every program is a process of its own, which is started once and trains only on request. The
    programs take turns, so that other load on the machine affects all of them alike.

    Args:
      name: of the workload.
      settings: a `Settings`.

    Returns:
      A dict for JSON: `parameters`, their number; `lines`, the measurements of each `Line`;
      `matrix_product`, `flops_per_second` and `others_cores` of each round, or None if it failed.

    Raises:
      DifferentNetsError: the numbers of trainable parameters differ.
    """
    shutil.rmtree(settings.folder / name, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        entries = []
        for line in [lines.MATRIX_PRODUCT_LINE, *lines.lines_of(WORKLOADS[name])]:
            entry = _Entry(line, settings, name)
            stack.callback(entry.close)
            entry.start()
            entries.append(entry)
        parameters = _number_of_parameters(name, entries[1:])
        for entry in entries:
            entry.run(_WARM_UP_SECONDS)
            entry.windows.clear()
        for number in range(settings.num_rounds):
            settings.log(f"{name}: round {number + 1} of {settings.num_rounds}")
            for entry in entries:
                entry.run(settings.seconds)
        for entry in entries:
            entry.end()
        for entry in entries:
            if entry.line.resumes:
                entry.measure_resume()
    product, *trained = entries
    return {
        "parameters": parameters,
        "lines": [entry.result() for entry in trained],
        "matrix_product": None if product.failure else product.windows,
    }


class _Entry:
    """A line, its program and its measurements; a failure ends this line only."""

    def __init__(self, line, settings, workload):
        self.line = line
        self.windows = []
        self.failure = self.resume_failure = self.start_seconds = self.resume_seconds = None
        self.facts = {}
        self._settings = settings
        self._workload = workload
        self._program = None
        label = "tuned" if line.tuned_allocator else "default"
        folder = line.name.replace(", ", "_").replace(" ", "_").lower()
        self._folder = settings.folder / workload / f"{folder}_{label}"
        self._title = f"{workload}: {line.name} ({label})"

    def start(self):
        with self._failures():
            self._program = self._started()
            self.facts, self.start_seconds = self._program.facts, self._program.start_seconds
            self._settings.log(f"{self._title}: first step after {self.start_seconds:.1f} s")

    def run(self, seconds):
        with self._failures():
            if not self.failure:
                self.windows.append(self._program.run(seconds))

    def end(self):
        with self._failures():
            if not self.failure:
                self._program.end()

    def measure_resume(self):
        """Restarts the program from its saved state, up to its first step."""
        if self.failure:
            return
        try:
            with self._started() as program:
                if not program.facts["resumed_at"]:
                    raise ProgramError("it started from the beginning instead of resuming")
                self.resume_seconds = program.start_seconds
                self._settings.log(f"{self._title}: resumed after {self.resume_seconds:.1f} s")
        except ProgramError as failed:
            # The measurements before stay valid.
            self.resume_failure = str(failed)
            self._settings.log(f"{self._title}: no resume: {failed}")

    def close(self):
        if self._program is not None:
            self._program.close()

    def result(self):
        last = self.windows[-1] if self.windows and not self.failure else {}
        return {
            "name": self.line.name,
            "tuned_allocator": self.line.tuned_allocator,
            "failure": self.failure,
            "windows": [{key: each[key] for key in _OF_A_WINDOW} for each in self.windows],
            "start_seconds": self.start_seconds,
            "resume_seconds": self.resume_seconds,
            "resume_failure": self.resume_failure,
            "peak_mebibytes": last.get("peak_mebibytes"),
            "flops_per_step": last.get("flops_per_step"),
            "compile_mode": last.get("compile_mode"),
        }

    def _started(self):
        python = self._settings.peers_python if self.line.of_peers else self._settings.python
        return Program(self.line, python, self._workload, self._folder)

    @contextlib.contextmanager
    def _failures(self):
        try:
            yield
        except ProgramError as failed:
            self.failure = str(failed)
            self._settings.log(f"{self._title}: failed: {failed}")


def _number_of_parameters(name, entries):
    """Returns the number that all programs report, or raises `DifferentNetsError`."""
    reported = {entry.line.name: entry.facts["parameters"] for entry in entries if entry.facts}
    if len(set(reported.values())) > 1:
        listed = ", ".join(f"{line} {count:,}" for line, count in reported.items())
        raise DifferentNetsError(f"{name}: the numbers of trainable parameters must be equal, got {listed}")
    return next(iter(reported.values()), None)
