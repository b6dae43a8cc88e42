"""The record of a finished run, to be published: what was run, where, and what came out."""

import os
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from vaeflow.errors import ConfigurationError
from vaeflow.runs import json_files, paths, reading
from vaeflow.runs.escaping import without_passwords
from vaeflow.runs.workdir import WorkDir

_SEED = re.compile(r"^train\.seed = (\d{1,18})$", re.MULTILINE)
# What an evaluation measures of a model: the negative ELBO, or where it has no latents the likelihood itself.
_MEASURES = tuple(
    f"{split}/{measure}"
    for measure in ("negative_elbo", "negative_log_likelihood")
    for split in ("evaluation", "validation")
)
_ENVIRONMENT = {
    "command": json_files.TEXTS,
    "git_revision": json_files.TEXT_OR_NULL,
    "python": json_files.TEXT,
    "platform": json_files.TEXT,
    "packages": json_files.TEXT_OR_NULL_BY_NAME,
}
_RESULT = {
    "step": json_files.WHOLE,
    "wall_seconds": json_files.NUMBER,
    "weights_sha256": json_files.TEXT,
}
_EVALUATION = "evaluation.json"
_NAME = re.compile(r"[\w+-][\w.+,=-]*")
_LONGEST_NAME = 200


def write(
    workdir: str, folder: str, name: str | None = None, more: Mapping[str, Any] | None = None
) -> pathlib.Path:
    """Writes the record of a finished run; the same run gives the same bytes.

    Args:
      workdir: the work folder of the run.
      folder: the folder to write to; made if it does not exist.
      name: the name of the file without `.json`; None for the name of the work folder.
      more: what else it is to hold.

    Returns:
      The path of the file.

    Raises:
      ConfigurationError: the work folder is not that of a finished run, or the name is not
        a file's name.
      EnvironmentFailure: the file cannot be written.
    """
    name = pathlib.Path(workdir).resolve().name if name is None else name
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ConfigurationError(
            f"--name={paths.shown(name)} cannot be the name of a file; use at most {_LONGEST_NAME} letters, "
            "digits and -_.+,="
        )
    record = {"name": name, **make(workdir), **(more or {})}
    path = pathlib.Path(folder) / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"--results={folder}: the folder cannot be made ({error.strerror}); choose another"
        ) from error
    json_files.write(path, record, ascii_only=False)
    return path


def make(workdir: str) -> dict[str, Any]:
    """Returns the record of a finished run, without paths of the machine; see `write`."""
    folder = pathlib.Path(workdir)
    if not folder.is_dir():
        raise ConfigurationError(f"--workdir={workdir}: there is no such folder")
    configuration = _text(folder, "config.gin")
    environment = _json(folder, "environment.json", _ENVIRONMENT)
    history = WorkDir(folder).read_metrics()
    result = _finished(folder, history)
    digest = result.pop("weights_sha256")
    seed = _SEED.search(_text(folder, "operative_config.gin"))
    return {
        "command": as_typed(environment.pop("command")),
        "seed": int(seed[1]) if seed else None,
        "revision": environment.pop("git_revision"),
        "machine": environment.pop("machine", None),
        "versions": {
            "python": environment.pop("python"),
            "platform": environment.pop("platform"),
            **environment.pop("packages"),
        },
        "run": environment,
        "seconds": result["wall_seconds"],
        "metrics": result,
        "evaluation": _evaluation(folder) if (folder / _EVALUATION).exists() else None,
        "history": _evaluations(history),
        "weights_sha256": digest,
        "configuration": without_passwords(without_paths(configuration)).splitlines(),
    }


def _evaluation(folder):
    """Returns what `evaluation.json` holds."""
    found = _json(folder, _EVALUATION, {}, {"configuration": json_files.TEXT})
    if "configuration" in found:
        found["configuration"] = without_paths(found["configuration"]).splitlines()
    return found


def _evaluations(history):
    """Returns the steps and the negative ELBOs or log-likelihoods of the evaluations during the training."""
    name = next((name for name in _MEASURES for line in history if name in line), _MEASURES[0])
    evaluated = [line for line in history if name in line]
    return {"step": [line["step"] for line in evaluated], name: [line[name] for line in evaluated]}


def _finished(folder, history):
    """Returns what `result.json` holds, if the run has not gone on since."""
    path = folder / "result.json"
    if not path.exists():
        raise ConfigurationError(
            f"the run in {folder} is not finished: there is no result.json; run its command again to "
            "finish it"
        )
    result = _json(folder, path.name, _RESULT)
    last = history[-1]["step"] if history else 0
    if result["step"] != last:
        raise ConfigurationError(
            f"the run in {folder} is not finished: result.json is of step {result['step']}, metrics.jsonl "
            f"of step {last}; run its command again to finish it"
        )
    return result


def _text(folder, name):
    try:
        return reading.read_text(folder / name)
    except FileNotFoundError:
        raise ConfigurationError(
            f"--workdir={folder} is not the work folder of a run: there is no {name}; give the folder that "
            "`vaeflow train` wrote, e.g. --workdir=runs/vae"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{folder / name} cannot be read: {error}") from error


def _json(folder, name, required, optional=None):
    try:
        return json_files.parse(_text(folder, name).encode(), required, optional)
    except json_files.MalformedError as error:
        raise ConfigurationError(f"{folder / name} is not what a run writes: {error}") from error


def as_typed(arguments: Sequence[str]) -> str:
    """Writes a command line as a user types it, whichever way it was called, without paths of the machine.

    Args:
      arguments: those of the process, as in `sys.argv`.
    """
    return shlex.join(typed(arguments))


def typed(arguments: Sequence[str]) -> list[str]:
    """Returns the words of a command line as a user types it; see `as_typed`."""
    program, *arguments = arguments
    name = pathlib.Path(program).stem
    if name not in ("vaeflow", "__main__"):
        arguments = [name.replace("_", "-"), *arguments]  # A module of a clone.
    return ["vaeflow", *map(_without_folder, arguments)]


def _without_folder(argument):
    """Shortens an absolute path to its last part, also as the value of a flag."""
    flag, equals, value = argument.rpartition("=") if argument.startswith("--") else ("", "", argument)
    if os.path.isabs(value):  # noqa: PTH117 -- the text may be anything
        return f"{flag}{equals}{pathlib.Path(value).name}"
    return without_paths(argument)


def without_paths(text: str) -> str:
    """Shortens each absolute path in quotes to its last part."""
    return re.sub(
        r"""(['"])(/[^'"\n]*)\1""", lambda found: f"{found[1]}{pathlib.Path(found[2]).name}{found[1]}", text
    )
