"""Measures one workload: each program in turn with vaeflow, round after round."""

import contextlib
import dataclasses
import pathlib
import shutil

from benchmarks import lines
from benchmarks.processes import Program, ProgramError
from benchmarks.workloads import WORKLOADS
from vaeflow.errors import RunError

_WARM_UP_SECONDS = 1.0
_OF_A_WINDOW = ("images", "steps", "seconds", "flops_per_second", "others_cores")
_OF_THE_LAST = ("peak_mebibytes", "flops_per_step", "compile_mode")


class DifferentNetsError(RunError):
    """The programs do not train the same net, so they cannot be compared; the later one is not measured."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
      num_rounds: how often each program trains.
      seconds: how long it trains each time.
      python: the interpreter that runs vaeflow and Keras on TensorFlow.
      peers_python: the interpreter that runs the others.
      folder: where programs keep their state and logs.
      log: called with each line of progress.
      everything: as of `lines.lines_of`.
    """

    num_rounds: int
    seconds: float
    python: str
    peers_python: str
    folder: pathlib.Path
    log: callable
    everything: bool = False


def measure(name, settings, done, keep):
    """Measures those programs of a workload that are not done.

    Each program is a process of its own that trains only on request. vaeflow is measured first and ends.
    Then it is started once more, and takes turns with one program after the other: what slows the machine
    down in a round slows both.

    Args:
      name: of the workload.
      settings: a `Settings`.
      done: pairs of the name of a line and whether its allocator is tuned; these are not measured again.
      keep: called with the result of each program when it has ended, a dict for JSON: `name` and
        `tuned_allocator`; `failure`, why it failed, or None; `windows`, what it did in each round;
        `beside`, what vaeflow did in the same round, empty for vaeflow itself; `parameters`, the number of
        trainable ones; what it needed for its start and a resume; and facts that some programs state.

    Raises:
      DifferentNetsError: the numbers of trainable parameters differ.
    """
    every = lines.lines_of(WORKLOADS[name], settings.everything)
    missing = [line for line in every if (line.name, line.tuned_allocator) not in done]
    if not missing:
        return
    own = every[0]
    if missing[0] == own:
        result = _Measurement(own, settings, name).result(None)
        keep(result)
        if result["failure"]:
            settings.log(f"{name}: there is nothing to compare with")
            return
        missing = missing[1:]
    with contextlib.ExitStack() as stack:
        folder = _fresh(settings.folder / name / "reference")
        try:
            reference = stack.enter_context(Program(own, settings.python, name, folder))
            reference.run(_WARM_UP_SECONDS)
        except ProgramError as failed:
            settings.log(f"{name}: vaeflow failed when it was started again: {failed}")
            return
        for line in missing:
            keep(_Measurement(line, settings, name).result(reference))


class _Measurement:
    """Measures one line; a failure ends this line only."""

    def __init__(self, line, settings, workload):
        self._line = line
        self._settings = settings
        self._workload = workload
        label = "tuned" if line.tuned_allocator else "default"
        folder = line.name.replace(", ", "_").replace(" ", "_").lower()
        self._folder = settings.folder / workload / f"{folder}_{label}"
        self._title = f"{workload}: {line.name} ({label})"
        self._parameters = self._start_seconds = None
        self._windows, self._beside = [], []

    def result(self, reference):
        """Measures beside a running program, or alone with None; returns a dict as of `measure`."""
        failure, resumed = None, {"resume_seconds": None, "resume_failure": None}
        _fresh(self._folder)
        try:
            self._train(reference)
            resumed |= self._resume() if self._line.resumes else {}
        except ProgramError as failed:
            failure = str(failed)
            self._settings.log(f"{self._title}: failed: {failed}")
        last = self._windows[-1] if self._windows and not failure else {}
        return {
            "name": self._line.name,
            "tuned_allocator": self._line.tuned_allocator,
            "failure": failure,
            "parameters": self._parameters,
            "start_seconds": self._start_seconds,
            **resumed,
            **{key: last.get(key) for key in _OF_THE_LAST},
            "windows": [_cut(window) for window in self._windows],
            "beside": [_cut(window) for window in self._beside],
        }

    def _train(self, reference):
        with self._started() as program:
            self._parameters, self._start_seconds = program.facts.get("parameters"), program.start_seconds
            self._settings.log(f"{self._title}: first step after {self._start_seconds:.1f} s")
            _check_nets(self._workload, program, reference)
            program.run(_WARM_UP_SECONDS)
            for _ in range(self._settings.num_rounds):
                if reference is not None:
                    self._beside.append(_run_beside(reference, self._settings.seconds))
                self._windows.append(program.run(self._settings.seconds))
            program.end()

    def _resume(self):
        """Restarts the program from its saved state, up to its first step."""
        try:
            with self._started() as program:
                if not program.facts["resumed_at"]:
                    raise ProgramError("it started from the beginning instead of resuming")
                self._settings.log(f"{self._title}: resumed after {program.start_seconds:.1f} s")
                return {"resume_seconds": program.start_seconds}
        except ProgramError as failed:
            # The measurements before stay valid.
            self._settings.log(f"{self._title}: no resume: {failed}")
            return {"resume_failure": str(failed)}

    def _started(self):
        python = self._settings.peers_python if self._line.of_peers else self._settings.python
        return Program(self._line, python, self._workload, self._folder)


def _run_beside(reference, seconds):
    try:
        return reference.run(seconds)
    except ProgramError as failed:
        raise ProgramError(f"vaeflow failed beside it: {failed}") from None


def _check_nets(name, program, reference):
    """Raises `DifferentNetsError` if the two do not train the same number of parameters."""
    own = program.facts.get("parameters")
    if own is None or reference is None:  # As of a matrix product.
        return
    if own != (expected := reference.facts["parameters"]):
        raise DifferentNetsError(
            f"{name}: the numbers of trainable parameters must be equal, got {reference.line.name} "
            f"{expected:,}, {program.line.name} {own:,}"
        )


def _cut(window):
    return {key: window[key] for key in _OF_A_WINDOW if key in window}


def _fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    return folder
