"""Compares the files of a run with one another, and with its data as it is now."""

import math
from collections.abc import Iterator, Mapping, Sequence

from vaeflow.commands.verification.checks import (
    DIFFERENT,
    NOT_VERIFIED,
    VERIFIED,
    Check,
    Value,
    compared,
)
from vaeflow.commands.verification.recorded import Recorded
from vaeflow.errors import RunError
from vaeflow.runs.digest import arrays_sha256
from vaeflow.runs.metrics_log import PROGRESS, Line, LogDigest
from vaeflow.training import initial_weights

# What `result.json` holds besides the newest value of each metric.
_OF_RESULT = ("step", "num_replicas", "weights_sha256", "ended_by", "restored_step")


def check_readable(recorded: Recorded) -> Iterator[Check]:
    """Names the files that are not what a run writes."""
    for name, problem in recorded.problems.items():
        yield Check("files", name, DIFFERENT, f"it is not what a run writes: {problem}")


def check_data(recorded: Recorded, found: Mapping[str, str]) -> Check:
    """Compares the fingerprints of the data with `data.json`."""
    if recorded.data is None:
        return Check("data", "the fingerprints of the data", NOT_VERIFIED, "there is no data.json")
    names = sorted(recorded.data.keys() | found.keys())
    values = [Value(name, recorded.data.get(name), found.get(name)) for name in names]
    with_content = all("content " in str(value.recorded) for value in values)
    same = "the same" if with_content else "the same numbers and sizes; the content has no digest"
    return compared("data", "the fingerprints of the data", values, same)


def check_initial_weights(recorded: Recorded, named: str | None) -> Iterator[Check]:
    """Compares the weights that the run started from with those that its configuration names.

    Args:
      recorded: the run.
      named: `train.initial_weights`.
    """
    if named is None:
        return
    subject = "the weights that the run started from"
    try:
        source = initial_weights.find(named)
        found = arrays_sha256(source.store.read_weights(source.step)["model"])
    except RunError as error:
        yield Check("start", subject, NOT_VERIFIED, f"{error}; the steps from the start are not repeated")
        return
    known = recorded.environment.get("initial_weights") or {}
    yield compared("start", subject, [Value("weights_sha256", known.get("weights_sha256"), found)])


def check_checkpoints(recorded: Recorded, steps: Sequence[int]) -> Iterator[Check]:
    """Compares the files of each checkpoint with its record, and the record with the log."""
    for step in steps:
        subject = f"the checkpoint of step {step}"
        problem = recorded.store.problem_with(step)
        if problem is not None:
            yield Check("checkpoints", subject, DIFFERENT, problem)
            continue
        record = recorded.store.record(step)
        files = len(record["sha256"])
        yield Check("checkpoints", subject, VERIFIED, f"{files} files have the SHA-256 of its record")
        yield _check_metrics(recorded, step, record)


def _check_metrics(recorded: Recorded, step: int, record: Mapping) -> Check:
    """Compares the metrics of a record with the line of its step, or with the totals of a loop cut short."""
    subject = f"the metrics in the record of step {step}"
    metrics, totals = record["metrics"], record["totals"]
    if totals.num_steps:
        values = [
            Value(f"train/{name}", metrics.get(f"train/{name}"), mean)
            for name, mean in totals.means().items()
        ]
        return compared("checkpoints", subject, values, "the means of its totals")
    line = recorded.line_of(step)
    if line is None:
        return Check("checkpoints", subject, NOT_VERIFIED, "the log has no line of this step")
    shared = [name for name in metrics if name in line.metrics]
    values = [Value(name, metrics[name], line.metrics[name]) for name in shared]
    return compared("checkpoints", subject, values, "as in the log")


def check_log(recorded: Recorded, steps: Sequence[int]) -> tuple[list[Check], set[int]]:
    """Compares the lines of the log with the digests that the checkpoints keep of them.

    Returns:
      The checks, and the steps of the lines that a digest covers.
    """
    checks, covered = [], 0
    for step in steps:
        if recorded.store.problem_with(step) is not None:
            continue
        digest = recorded.store.record(step)["log"]
        subject = f"the log up to the checkpoint of step {step}"
        if digest is None:
            remark = "an older version wrote the checkpoint, without a digest of the log"
            checks.append(Check("log", subject, NOT_VERIFIED, remark))
        elif _digest_of(recorded.lines[: digest.lines]) == digest:
            lines = "1 line has" if digest.lines == 1 else f"{digest.lines} lines have"
            remark = f"{lines} the digest of its record, so the log is as the run wrote it"
            checks.append(Check("log", subject, VERIFIED, remark))
            covered = max(covered, digest.lines)
        else:
            checks.append(Check("log", subject, DIFFERENT, _remark(recorded.lines, covered, digest)))
    return checks, {line.step for line in recorded.lines[:covered]}


def check_uncovered(recorded: Recorded, known: set[int]) -> Iterator[Check]:
    """Names the lines that neither a digest nor a repetition covers."""
    runs: list[list[int]] = []
    was_known = True
    for line in recorded.lines:
        if line.step in known:
            was_known = True
            continue
        if was_known:
            runs.append([])
        runs[-1].append(line.step)
        was_known = False
    for steps in runs:
        remark = "no kept checkpoint has the digest, and none precedes it for a repetition"
        yield Check("log", _of_steps(steps), NOT_VERIFIED, remark)


def check_result(recorded: Recorded, digests: Mapping[int, str]) -> Iterator[Check]:
    """Compares `result.json` with the log, and with the weights of the checkpoint of its step.

    Args:
      recorded: the run.
      digests: step of a checkpoint -> the SHA-256 of its weights.
    """
    result = recorded.result
    if result is None:
        if "result.json" not in recorded.problems:
            yield Check("result", "result.json", NOT_VERIFIED, "the run is not finished: there is none")
        return
    # A run that has ended with the weights of an earlier step has the metrics of that step.
    step = result.get("restored_step", result["step"])
    newest: dict[str, float] = {}
    for line in recorded.lines:
        is_later = line.step > step
        newest |= {name: line.metrics[name] for name in PROGRESS if name in line.metrics}
        newest |= {} if is_later else line.metrics
    newest_step = newest.get("step")
    newest = {name: value for name, value in newest.items() if math.isfinite(value)}
    named = {name: value for name, value in result.items() if name not in _OF_RESULT}
    newest.pop("step", None)
    values = [Value("step", result["step"], newest_step)]
    values += [
        Value(name, named.get(name), newest.get(name)) for name in sorted(named.keys() | newest.keys())
    ]
    if "num_replicas" in result and "placement" in recorded.environment:
        values.append(Value("num_replicas", result["num_replicas"], recorded.placement.replicas))
    same = "the newest of each in the log" + (f" at step {step}" if "restored_step" in result else "")
    yield compared("result", "the metrics in result.json", values, same)
    subject = "the SHA-256 of the weights in result.json"
    if step not in digests:
        remark = f"no intact checkpoint of step {step} was compared"
        yield Check("result", subject, NOT_VERIFIED, remark)
        return
    weights = Value("weights_sha256", result["weights_sha256"], digests[step])
    yield compared("result", subject, [weights], f"that of the checkpoint of step {step}")


def _digest_of(lines: Sequence[Line]) -> LogDigest:
    digest = LogDigest()
    for line in lines:
        digest = digest.followed_by(line.text)
    return digest


def _remark(lines: Sequence[Line], covered: int, digest: LogDigest) -> str:
    """Says which lines are not those that a digest was made of."""
    if digest.lines > len(lines):
        return f"{digest.lines} lines were written, and {len(lines)} readable ones are there"
    wrong = [line.step for line in lines[covered : digest.lines]]
    return f"{_of_steps(wrong)}: at least one is not as the run wrote it"


def _of_steps(steps: Sequence[int]) -> str:
    """Names lines by their steps."""
    if not steps:
        return "the lines"
    if len(steps) == 1:
        return f"the line of step {steps[0]}"
    return f"the {len(steps)} lines of the steps {steps[0]} to {steps[-1]}"
