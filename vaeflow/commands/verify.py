"""Verifies that a run is what its work folder says: read `verify` top to bottom."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any

from vaeflow import config, registry, validation
from vaeflow.commands import assembly
from vaeflow.commands.verification import evaluations as evaluated
from vaeflow.commands.verification import files, plan, repeating, report, versions
from vaeflow.commands.verification.checks import NOT_VERIFIED, Check, verdict_of
from vaeflow.commands.verification.comparing import Comparison
from vaeflow.commands.verification.evaluations import Given
from vaeflow.commands.verification.recorded import Recorded
from vaeflow.commands.verification.repeating import Interval, Repeated, Way
from vaeflow.devices import allocator, cores
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.runs import asking, failures, json_files, paths, temporary_files
from vaeflow.runs.escaping import printable
from vaeflow.runs.files import reported, write_text
from vaeflow.runs.progress_line import ProgressLine
from vaeflow.runs.watchdog import Watchdog
from vaeflow.training import making

_FLAG_ADVICE = {
    "workdir": "use the flag --workdir instead",
    "checkpoint": "use the flag --checkpoint instead",
    "results": "use the flag --results instead",
    "other_versions": "use the flag --other_versions instead",
    "given": "use the flags --gin_file and --gin_param instead",
}
_NOTHING_GIVEN = Given()


@functools.partial(registry.command, refused=_FLAG_ADVICE)
def verify(
    workdir: str,
    checkpoint: str = "all",
    results: str | None = None,
    other_versions: bool = False,
    replicas: bool = True,
    float64: bool = True,
    evaluations: bool = True,
    not_repeatable: Sequence[str] = (),
    given: Given = _NOTHING_GIVEN,
) -> dict[str, Any]:
    """Verifies that a run is what its work folder says; changes nothing there but the report.

    From the start and from each kept checkpoint, the steps to the next line of the log are repeated: as
    they were run, on another number of replicas, and in float64.
    Their losses are compared with that line, and with a checkpoint where they end at one. On the machine
    of the run, with its versions, a repetition as it was run must give the same bits; all others must
    agree within a tolerance, which the report states.

    Files are compared with one another: checkpoints with their SHA-256, the log with the digests that the
    checkpoints keep of it, `result.json` with both. Data, code, versions, plug-ins and machine are
    compared with those here, and `evaluate` is run again for each `evaluation.json`. Lines of the log
    that neither a digest nor a repetition covers are named as not verified.

    Args:
      workdir: the work folder of a run.
      checkpoint: from where steps are repeated: `"all"`, `"last"` (the newest checkpoint, and the newest
        that a line of the log follows), or a step; 0 is the start.
      results: the folder of the report; None for the work folder.
      other_versions: whether other code and other versions are said, but count as no difference.
      replicas: whether steps are repeated on another number of replicas: 2, or 1 if the run had several.
      float64: whether steps are repeated in float64.
      evaluations: whether `evaluate` is run again.
      not_repeatable: names of values in the log that differ in each run, such as a time that a callback
        of yours measures; they are not compared.
      given: the gin files, parameters and plug-ins of the command line.

    Returns:
      The content of `verification.json`.

    Raises:
      ConfigurationError: a setting is wrong, or the folder is not that of a run.
      EnvironmentFailure: the data or the disk failed.
    """
    with config.values_checked():
        for name, value in (("replicas", replicas), ("float64", float64), ("evaluations", evaluations)):
            validation.boolean(f"verify.{name}", value)
        left_out = _checked_names(not_repeatable)
        values = _run_values()
        stall_seconds = making.checked(values)[0].longest_stall
    started = time.monotonic()
    recorded = Recorded(workdir)
    both = versions.sides(recorded.environment, config.plugins_in_force())
    findings = _Findings()
    findings.add(files.check_readable(recorded))
    findings.add(versions.check(both, other_versions))
    with contextlib.ExitStack() as stack:
        watchdog = stack.enter_context(Watchdog(limit_seconds=stall_seconds, resumes=False))
        stack.enter_context(failures.readable_errors(None, type(values["dataset"]).__name__))
        stack.enter_context(temporary_files.kept_in(pathlib.Path(tempfile.gettempdir())))
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="verify-"))
        intervals = _repeatable_intervals(recorded, checkpoint, values, scratch, findings)
        repetitions = _Repetitions(values, scratch, watchdog)
        covered = _compare_files(recorded, repetitions.data, findings)
        expects_bits = versions.expects_bits(both)
        is_exact = expects_bits and _was_placed_as_here(recorded)
        comparison = Comparison(recorded, is_exact, left_out, values["precision"])
        ways = plan.ways(recorded, values["precision"], replicas, float64)
        digests = _compare_repetitions(comparison, repetitions, ways, intervals, findings)
        findings.add(files.check_result(recorded, digests))
        findings.add(files.check_uncovered(recorded, covered | comparison.repeated_steps))
        if evaluations:
            findings.add(evaluated.check(recorded, scratch, given, expects_bits))
    settings = {
        "checkpoint": checkpoint,
        "ways": ", ".join(way.name for way in ways),
        "given": " ".join([*given.gin_files, *given.parameters]) or None,
        "not_repeatable": ", ".join(sorted(left_out)) or None,
        "seconds": round(time.monotonic() - started, 1),
    }
    return findings.write(recorded.workdir.path, results, both, settings)


class _Findings:
    """The checks so far; each is printed when it is known."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def add(self, checks: Iterable[Check]) -> None:
        """Adds checks and prints them."""
        for check in checks:
            self.checks.append(check)
            print(report.line(check), flush=True)

    def write(
        self, workdir: pathlib.Path, results: str | None, both: versions.Sides, settings: dict[str, Any]
    ) -> dict[str, Any]:
        """Writes the report, and returns the content of `verification.json`."""
        folder = workdir if results is None else paths.checked("--results", results)
        with reported(folder):
            folder.mkdir(parents=True, exist_ok=True)
        verdict = verdict_of(self.checks)
        content = report.as_json(verdict, self.checks, both, settings)
        json_files.write(folder / f"{report.NAME}.json", content)
        write_text(folder / f"{report.NAME}.md", report.as_markdown(verdict, self.checks, both, settings))
        print(printable(f"\n{verdict}: {report.summary(self.checks)}"))
        print(printable(f"written to {folder / report.NAME}.json and {report.NAME}.md"))
        return content


class _Repetitions:
    """Repeats intervals, here or in a process of its own.

    Args:
      values: what gin gives to `train`, name -> value.
      scratch: a temporary folder.
      watchdog: hears of each part.

    Attributes:
      data: the data of the run.
    """

    def __init__(self, values: dict[str, Any], scratch: pathlib.Path, watchdog: Watchdog) -> None:
        _, training = making.checked(values)
        cores.divide(training.batch_size, training.compile_mode)
        watchdog.progress(f"reading {type(values['dataset']).__name__}")
        self.data = assembly.read_data(values["dataset"])
        self._values = values
        self._scratch = scratch
        self._watchdog = watchdog
        self._configuration = scratch / "verify.gin"
        write_text(self._configuration, config.text_in_force())
        (scratch / "start").mkdir()

    def repeat(self, way: Way, intervals: Sequence[Interval], findings: _Findings) -> list[Repeated]:
        """Repeats intervals in one way; where another way than the run's own cannot work, says so."""
        with ProgressLine(stays=False) as line:
            line.update([f"repeating {len(intervals)} intervals {way.name}"])
            try:
                if way.replicas > 1:
                    return self._in_a_process(way, intervals)
                return repeating.repeat(
                    way, intervals, self._values, self.data, self._scratch, self._watchdog
                )
            except ConfigurationError as error:
                if way.is_original:
                    raise
                reason = str(error)
        findings.add([Check("steps", f"the steps {way.name}", NOT_VERIFIED, reason)])
        return []

    def _in_a_process(self, way: Way, intervals: Sequence[Interval]) -> list[Repeated]:
        """Repeats on several replicas: the devices of this process cannot be split any more."""
        request = {
            "configuration": str(self._configuration),
            "plugins": list(config.plugins_in_force()),
            "way": dataclasses.asdict(way),
            "intervals": [dataclasses.asdict(each) for each in intervals],
            "scratch": str(self._scratch),
        }
        module, called = "vaeflow.commands.verification.process", "the process that repeats"
        answers = asking.ask(module, request, called, allocator.tuned(os.environ))
        return [repeating.from_json(each) for each in answers]


def _repeatable_intervals(
    recorded: Recorded, checkpoint: str, values: dict[str, Any], scratch: pathlib.Path, findings: _Findings
) -> list[Interval]:
    """Returns the steps to repeat, those from the start only if the weights that it took are here."""
    intervals = plan.intervals(recorded, checkpoint, scratch)
    started_from = list(files.check_initial_weights(recorded, values["initial_weights"]))
    findings.add(started_from)
    if any(check.verdict == NOT_VERIFIED for check in started_from):
        return [each for each in intervals if each.start]
    return intervals


def _compare_files(recorded: Recorded, data: assembly.Data, findings: _Findings) -> set[int]:
    """Compares data, checkpoints and log with what is recorded; returns the steps whose lines it covers."""
    findings.add([files.check_data(recorded, data.fingerprints())])
    findings.add(files.check_checkpoints(recorded, recorded.store.steps()))
    checks, covered = files.check_log(recorded, recorded.store.steps())
    findings.add(checks)
    return covered


def _was_placed_as_here(recorded: Recorded) -> bool:
    """Whether a run had one worker, and the kind of devices that there is here."""
    placement = recorded.placement
    return placement.workers == 1 and placement.kind in (None, assembly.device_kind())


def _compare_repetitions(
    comparison: Comparison,
    repetitions: _Repetitions,
    ways: Sequence[Way],
    intervals: Sequence[Interval],
    findings: _Findings,
) -> dict[int, str]:
    """Repeats intervals in all ways, and compares them with the run.

    Returns:
      The step from which each interval starts -> the SHA-256 of the weights there.
    """
    found = {way: repetitions.repeat(way, intervals, findings) for way in ways}
    findings.add(comparison.checks(intervals, found))
    return {each.start: one.digest for each, one in zip(intervals, found[ways[0]], strict=True)}


def _run_values() -> dict[str, Any]:
    """Returns what gin gives to `train`: it made a run once, so here its data or another file is missing."""
    try:
        return repeating.run_values()
    except ConfigurationError as error:
        advice = "if the data of the run lies elsewhere here, say where with --gin_param"
        raise DataError(f"{config.explain(error)}; {advice}") from error


def _checked_names(names: Any) -> frozenset[str]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(
            f"`verify.not_repeatable` must be a list of names of values in the log, got {names!r}"
        )
    return frozenset(names)
