"""Evaluates a model again, with the settings of each evaluation that its work folder holds."""

import os
import pathlib
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vaeflow.commands import evaluate_report
from vaeflow.commands.verification import tolerances
from vaeflow.commands.verification.checks import DIFFERENT, NOT_VERIFIED, VERIFIED, Check, Value, described
from vaeflow.commands.verification.recorded import Recorded
from vaeflow.devices import allocator
from vaeflow.runs import files, interpreter, json_files, processes, watchdog

_PART = "evaluations"
_REQUIRED = {
    "step": json_files.WHOLE,
    "split": json_files.TEXT,
    "seed": json_files.WHOLE,
    "num_replicas": json_files.WHOLE,
    "metrics": json_files.NUMBER_BY_NAME,
}
_OPTIONAL = {"configuration": json_files.TEXT, "num_examples": json_files.WHOLE}
_SAMPLES = re.compile(r"nll_is(\d{1,9})_nats")
# Figures without these names are relative to themselves.
_LOSSES = ("negative_elbo_nats", "negative_log_likelihood_nats", "reconstruction_loss_nats")


class Given(NamedTuple):
    """What the user of this command has given, which the evaluation takes too.

    Attributes:
      gin_files, parameters, plugins: as on the command line.
    """

    gin_files: Sequence[str] = ()
    parameters: Sequence[str] = ()
    plugins: Sequence[str] = ()


def check(recorded: Recorded, scratch: pathlib.Path, given: Given, expects_bits: bool) -> Iterator[Check]:
    """Runs `evaluate` again in a process of its own, in a copy of the work folder, for each evaluation.

    Args:
      recorded: the run.
      scratch: a temporary folder.
      given: see `Given`.
      expects_bits: whether this is the machine, with the versions, of the run.
    """
    for path in sorted(recorded.workdir.path.glob("evaluation*.json")):
        try:
            known = json_files.read(path, _REQUIRED, _OPTIONAL)
        except (OSError, ValueError) as error:
            yield Check(_PART, path.name, DIFFERENT, f"it is not what `evaluate` writes: {error}")
            continue
        step = known["step"]
        if step not in recorded.store.steps() or recorded.store.problem_with(step) is not None:
            yield Check(_PART, path.name, NOT_VERIFIED, f"no intact checkpoint of step {step} is kept")
            continue
        folder = _copy(recorded, scratch / path.stem)
        watchdog.progress(f"the evaluation in {path.name}", float("inf"))
        code, output = run_evaluate(_arguments(folder, known, given))
        if code:
            last = (output.strip().splitlines() or [f"exit code {code}"])[-1]
            yield Check(_PART, path.name, NOT_VERIFIED, f"it cannot be repeated: {last}")
            continue
        try:  # `path` may be a copy of another name.
            found = json_files.read(folder / evaluate_report.file_name(known["split"]), _REQUIRED)
        except (OSError, ValueError) as error:
            remark = f"its settings evaluate another split than {known['split']!r}: {error}"
            yield Check(_PART, path.name, DIFFERENT, remark)
            continue
        yield _compare(path.name, known, found, expects_bits)


def run_evaluate(arguments: Sequence[str]) -> tuple[int, str]:
    """Runs `vaeflow evaluate` in a process of its own; returns its exit code, and its stderr."""
    command = interpreter.command("vaeflow", "evaluate", *arguments)
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with processes.child(command, env=allocator.tuned(os.environ), errors="replace", **pipes) as process:
        _, error = process.communicate()
    return process.returncode, error


def _copy(recorded: Recorded, folder: pathlib.Path) -> pathlib.Path:
    """Makes a work folder in which `evaluate` finds the run's configuration and checkpoints."""
    folder.mkdir()
    source = recorded.workdir.path.resolve()
    (folder / "config.gin").write_bytes((source / "config.gin").read_bytes())
    (folder / "checkpoints").symlink_to(source / "checkpoints")
    return folder


def _arguments(folder: pathlib.Path, known: Mapping[str, Any], given: Given) -> list[str]:
    """Returns the flags of `evaluate`: its settings then, and what the user has given now."""
    arguments = [f"--workdir={folder}", f"--checkpoint={known['step']}"]
    if known["num_replicas"] > 1:
        arguments.append(f"--virtual_devices={known['num_replicas']}")
    if "configuration" in known:
        files.write_text(folder / "evaluate.gin", known["configuration"])
        arguments.append(f"--gin_file={folder / 'evaluate.gin'}")
    else:  # As older versions wrote it.
        samples = sorted({int(number) for name in known["metrics"] for number in _SAMPLES.findall(name)})
        arguments += [
            f"--gin_param=evaluate.split = {known['split']!r}",
            f"--gin_param=evaluate.seed = {known['seed']}",
            f"--gin_param=evaluate.num_examples = {known.get('num_examples')}",
            *([f"--gin_param=evaluate.num_samples = {samples}"] if samples else []),
        ]
    arguments += [f"--gin_file={path}" for path in given.gin_files]
    arguments += [f"--gin_param={parameter}" for parameter in given.parameters]
    return arguments + [f"--plugin={plugin}" for plugin in given.plugins]


def _compare(name: str, known: Mapping[str, Any], found: Mapping[str, Any], expects_bits: bool) -> Check:
    described_by = [key for key in known if key not in ("metrics", "configuration", "checkpoint")]
    values = [Value(key, known[key], found.get(key)) for key in described_by]
    metrics, others = known["metrics"], found["metrics"]
    loss = max(
        (abs(value) for key, value in metrics.items() if value and key.startswith(_LOSSES)), default=0.0
    )
    extra = [] if "configuration" in known else [key for key in metrics if key not in others]
    for key in dict.fromkeys([*metrics, *others]):
        if key in extra or ("configuration" not in known and key not in metrics):
            continue
        tolerance = 0.0 if tolerances.is_counted(key) else tolerances.BASE["float32"]
        value = Value(key, metrics.get(key), others.get(key), tolerance, tolerances.FLOOR * loss)
        if value.is_same or expects_bits or not tolerances.is_counted(key):
            values.append(value)
    wrong = [value for value in values if not value.agrees]
    if wrong:
        return Check(_PART, name, DIFFERENT, described(wrong), tuple(values))
    same = all(value.is_same for value in values)
    remark = f"{len(metrics) - len(extra)} metrics, " + ("equal bits" if same else "within tolerance")
    if extra:
        remark += f"; an older version did not record the settings of {', '.join(extra)}"
    return Check(_PART, name, NOT_VERIFIED if extra else VERIFIED, remark, tuple(values))
