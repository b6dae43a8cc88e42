"""The manifest of a repository: the size and the SHA-256 of each file that `vaeflow push` put there.

It is what a reader goes by: files that it does not name are never fetched, and only names that `vaeflow
push` gives are accepted in it, so none leads out of a folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import vaeflow
from vaeflow.runs import json_files, reading

NAME = "vaeflow.json"
CARD = "README.md"
CONFIGURATION = "config.gin"
ENVIRONMENT = "environment.json"
EVALUATION = "evaluation.json"
LOG = "metrics.jsonl"
RECORDS = ("data.json", "result.json")
EXPORT = "export"

_FORMAT = 1
_MOST_FILES = 1000
_MOST_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 20
_VARIABLES = r"variables\.(?:index|data-[0-9]{5}-of-[0-9]{5})"
# The card of an export lies on top, where the hub shows it.
_EXPORTED = rf"{EXPORT}(?!/README\.md$)(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]{{0,99}}){{1,6}}"
_NAMES = re.compile(
    rf"README\.md|config\.gin|(?:environment|evaluation|data|result)\.json|metrics\.jsonl|{_EXPORTED}"
    rf"|checkpoints/step-[0-9]{{8,18}}/(?:record\.json|{_VARIABLES})"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KINDS = {"format": json_files.WHOLE, "step": json_files.WHOLE, "files": json_files.OBJECT_BY_NAME}


class FileDigest(NamedTuple):
    """The size of a file in bytes, and the SHA-256 of its content in hexadecimal digits."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a repository holds.

    Attributes:
      step: of the checkpoint, the only one.
      files: name in the repository -> `FileDigest`, without the manifest itself.
    """

    step: int
    files: Mapping[str, FileDigest]

    @property
    def checkpoint(self) -> str:
        """The folder of the checkpoint."""
        return checkpoint_of(self.step)

    @property
    def of_the_model(self) -> list[str]:
        """The names of the files that `vaeflow.load` reads."""
        return [
            name
            for name in self.files
            if name in (CONFIGURATION, ENVIRONMENT) or name.startswith(f"{self.checkpoint}/")
        ]

    def to_bytes(self) -> bytes:
        """Returns the content of its file."""
        content = {
            "format": _FORMAT,
            "vaeflow": vaeflow.__version__,
            "step": self.step,
            "files": {name: self.files[name]._asdict() for name in sorted(self.files)},
        }
        return (json_files.dumps(content, 1) + "\n").encode()


def checkpoint_of(step: int) -> str:
    """Returns the folder of the checkpoint of a step, in a repository and in a work folder."""
    return f"checkpoints/step-{step:08d}"


def is_name(name: str) -> bool:
    """Whether a file of a repository has a name that `vaeflow push` gives."""
    return bool(_NAMES.fullmatch(name))


def read(path: Path) -> Manifest:
    """Reads the file of a manifest, which may come from anybody.

    Raises:
      OSError: it cannot be read.
      MalformedError: it is not what `vaeflow push` writes.
    """
    with reading.opened(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise json_files.MalformedError(f"it has more than {_MOST_BYTES:,} bytes")
    found = json_files.parse(content, _KINDS)
    if found["format"] != _FORMAT:
        raise json_files.MalformedError(
            f"its format is {found['format']}, and this version reads {_FORMAT}; install a newer vaeflow"
        )
    if len(found["files"]) > _MOST_FILES:
        raise json_files.MalformedError(f"it names more than {_MOST_FILES:,} files")
    files = {name: _digest(name, entry) for name, entry in found["files"].items()}
    made = Manifest(found["step"], files)
    _check_names(made)
    return made


def digest(path: Path) -> FileDigest:
    """Returns the digest of a file.

    Raises:
      OSError: it cannot be read, or is no regular file.
    """
    with reading.opened(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(file.tell(), sha256)


def digest_of(content: bytes) -> FileDigest:
    """Returns the digest of a file with this content."""
    return FileDigest(len(content), hashlib.sha256(content).hexdigest())


def copy(source: Path, target: Path) -> FileDigest:
    """Copies a file to a new one; returns the digest of what was copied."""
    sha256 = hashlib.sha256()
    with reading.opened(source) as file, target.open("xb") as copied:
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
            copied.write(chunk)
        return FileDigest(copied.tell(), sha256.hexdigest())


def _digest(name: str, entry: Mapping[str, Any]) -> FileDigest:
    json_files.check(
        entry, {"size": json_files.WHOLE, "sha256": json_files.TEXT}, inside=f"files/{name[:50]}/"
    )
    if entry["size"] < 0 or not _SHA256.fullmatch(entry["sha256"]):
        raise json_files.MalformedError(f"its 'files/{name[:50]}' is not a size and a SHA-256")
    return FileDigest(entry["size"], entry["sha256"])


def _check_names(made: Manifest) -> None:
    for name in made.files:
        if not is_name(name):
            raise json_files.MalformedError(f"it names {name[:100]!r}, which `vaeflow push` never writes")
        if name.startswith("checkpoints/") and not name.startswith(f"{made.checkpoint}/"):
            raise json_files.MalformedError(f"it names {name}, which is not of step {made.step}")
    needed = [CONFIGURATION, f"{made.checkpoint}/record.json", f"{made.checkpoint}/variables.index"]
    for name in needed:
        if name not in made.files:
            raise json_files.MalformedError(f"it lacks 'files/{name}'")
