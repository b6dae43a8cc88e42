"""What is published of a work folder: an export, its checkpoint, and what loads, evaluates and verifies it.

Pictures, summaries, stacks and other outputs stay. So do absolute paths, which are shortened to their last
part, and passwords in URLs: in the configuration, in the records and in the card.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import json_files, metrics_log, reading, record
from vaeflow.runs.escaping import without_passwords
from vaeflow.runs.hub import manifest, measured
from vaeflow.runs.hub.manifest import FileDigest, Manifest
from vaeflow.runs.hub.measured import Measured

EXPORT_RECORD = "export.json"
_EXPORTED = {
    "step": json_files.WHOLE,
    "model": json_files.TEXT,
    "dataset": json_files.TEXT,
    "files": json_files.NUMBER_BY_NAME,
}
_EVALUATION = {
    "step": json_files.WHOLE,
    "dataset": json_files.TEXT,
    "split": json_files.TEXT,
    "metrics": json_files.NUMBER_BY_NAME,
}
_CHECKPOINT = {"metrics": json_files.NUMBER_BY_NAME, "sha256": json_files.TEXT_BY_NAME}


@dataclasses.dataclass(frozen=True)
class Published:
    """What is published of a work folder.

    Attributes:
      step: of the checkpoint.
      model: the class of the model.
      card: the card of the export.
      measured: by `vaeflow evaluate` at this step, or else in training.
      files: name in the repository -> the file, or its content; all but the card and the manifest.
    """

    step: int
    model: str
    card: str
    measured: Measured
    files: Mapping[str, Path | bytes]

    def with_card(self, card: str) -> dict[str, Path | bytes]:
        """Returns all files of the repository: with a card, and with the manifest of all.

        Raises:
          EnvironmentFailure: a file cannot be read.
        """
        files = {**self.files, manifest.CARD: card.encode()}
        digests = {name: _digest(content) for name, content in files.items()}
        return {**files, manifest.NAME: Manifest(self.step, digests).to_bytes()}


def gather(folder: Path) -> Published:
    """Gathers what is published of a work folder.

    Args:
      folder: the work folder of a run that `vaeflow export` has exported.

    Raises:
      ConfigurationError: it is not that of a run, was not exported, or holds links.
      EnvironmentFailure: the checkpoint is damaged.
    """
    exported = _exported(folder)
    place = manifest.checkpoint_of(exported["step"])
    checkpoint, variables = _checkpoint(folder / place)
    evaluation = _evaluation(folder, exported["step"])
    export = folder / manifest.EXPORT
    files: dict[str, Path | bytes] = {
        manifest.CONFIGURATION: _cleaned(_text(folder / manifest.CONFIGURATION)).encode(),
        f"{place}/record.json": _dumped(checkpoint),
        **{f"{place}/{path.name}": path for path in variables},
        f"{manifest.EXPORT}/{EXPORT_RECORD}": _dumped(exported),
        **dict(_exported_files(export, exported["files"])),
        **dict(_records(folder)),
        **({manifest.EVALUATION: _dumped(evaluation)} if evaluation else {}),
    }
    for name in files:
        if not manifest.is_name(name):
            raise ConfigurationError(
                f"{folder / name} has no name that can be published; use letters, digits and _.+- in it"
            )
    return Published(
        step=exported["step"],
        model=exported["model"],
        card=_card(export),
        measured=measured.after_training(evaluation)
        if evaluation
        else measured.in_training(exported["dataset"], checkpoint["metrics"]),
        files=files,
    )


def _exported(folder: Path) -> dict[str, Any]:
    """Returns what an export says of itself."""
    if not (folder / manifest.CONFIGURATION).is_file():
        raise ConfigurationError(
            f"--workdir={folder} is not the work folder of a run: there is no {manifest.CONFIGURATION}; give "
            "the folder that `vaeflow train` wrote, e.g. --workdir=runs/vae"
        )
    path = folder / manifest.EXPORT / EXPORT_RECORD
    if not path.exists():
        raise ConfigurationError(
            f"{folder} holds no export, or one of an older version; run `vaeflow export` with "
            f"--workdir={folder} first"
        )
    return _json(path, _EXPORTED)


def _checkpoint(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Returns the record of a checkpoint, and its other files, which are as the run wrote them."""
    if not folder.is_dir():
        raise ConfigurationError(
            f"the checkpoint of the export, {folder}, is gone; run `vaeflow export` again"
        )
    found = _json(folder / "record.json", _CHECKPOINT)
    paths = [_regular(folder / name) for name in found["sha256"]]
    for path, expected in zip(paths, found["sha256"].values(), strict=True):
        if path.parent != folder or _digest(path).sha256 != expected:
            raise EnvironmentFailure(
                f"{path} differs from what its run wrote; export another checkpoint with `vaeflow export`"
            )
    return found, paths


def _records(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yields what a run records of itself, as far as it is there."""
    if (folder / manifest.ENVIRONMENT).exists():
        environment = _json(folder / manifest.ENVIRONMENT, {"command": json_files.TEXTS})
        yield manifest.ENVIRONMENT, _dumped({**environment, "command": record.typed(environment["command"])})
    for name in manifest.RECORDS:
        if (folder / name).exists():
            yield name, _dumped(_json(folder / name, {}))
    if (folder / manifest.LOG).exists():
        # Byte for byte, for checkpoints hold its digest. What is not a line of numbers is left out.
        lines = metrics_log.read(_regular(folder / manifest.LOG))
        yield manifest.LOG, b"".join(line.text for line in lines)


def _card(export: Path) -> str:
    path = export / manifest.CARD
    if not path.exists():
        raise ConfigurationError(f"{export} holds no {manifest.CARD}; run `vaeflow export` again")
    return _cleaned(_text(path))


def _evaluation(folder: Path, step: int) -> dict[str, Any] | None:
    """Returns what `evaluation.json` holds, if it is of this step."""
    path = folder / manifest.EVALUATION
    if not path.exists():
        return None
    found = _json(path, _EVALUATION)
    return found if found["step"] == step else None


def _exported_files(export: Path, names: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yields the files that an export names, and those below the folders that it names."""
    for name in names:
        if not manifest.is_name(f"{manifest.EXPORT}/{name}"):
            raise ConfigurationError(f"{export / EXPORT_RECORD} names {name!r}; run `vaeflow export` again")
        yield from _below(export, name)


def _below(export: Path, name: str) -> Iterator[tuple[str, Path]]:
    path = export / name
    if path.is_dir() and not path.is_symlink():
        for child in sorted(path.iterdir()):
            yield from _below(export, f"{name}/{child.name}")
    else:
        yield f"{manifest.EXPORT}/{name}", _regular(path)


def _regular(path: Path) -> Path:
    """Refuses what is no file of its own: a link in a folder from elsewhere could publish any file."""
    if path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        raise ConfigurationError(f"{path} is missing, a link or no regular file; only files are published")
    return path


def _digest(content: Path | bytes) -> FileDigest:
    if isinstance(content, bytes):
        return manifest.digest_of(content)
    try:
        return manifest.digest(content)
    except OSError as error:
        raise EnvironmentFailure(f"{content} cannot be read: {error.strerror}") from error


def _text(path: Path) -> str:
    try:
        return reading.read_text(_regular(path))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def _json(path: Path, kinds: Mapping[str, json_files.Kind]) -> dict[str, Any]:
    try:
        return json_files.parse(_text(path).encode(), kinds)
    except json_files.MalformedError as error:
        raise ConfigurationError(f"{path} is not what vaeflow writes: {error}") from error


def _dumped(content: Any) -> bytes:
    return (json_files.dumps(_without_paths(content), 1) + "\n").encode()


def _without_paths(value: Any) -> Any:
    """Cleans the texts of a JSON value; see `_cleaned`."""
    if isinstance(value, dict):
        return {name: _without_paths(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_paths(each) for each in value]
    if not isinstance(value, str):
        return value
    return Path(value).name if value.startswith("/") else _cleaned(value)


def _cleaned(text: str) -> str:
    """Shortens absolute paths in quotes to their last part, and leaves out the passwords of URLs."""
    return without_passwords(record.without_paths(text))
