"""The lines of `metrics.jsonl`, and the digest of them that each checkpoint keeps."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import pathlib
import re
from typing import Any, NamedTuple

from absl import logging

from vaeflow.runs import json_files, reading

NAME = "metrics.jsonl"
# What a line holds besides metrics.
PROGRESS = ("step", "examples_seen", "wall_seconds")
STEP = {"step": json_files.WHOLE}
_SHA256 = re.compile("[0-9a-f]{64}")


class Line(NamedTuple):
    """A line of the log.

    Attributes:
      text: its bytes, with the line break.
      metrics: what it holds, with NaN for null.
    """

    text: bytes
    metrics: dict[str, float]

    @property
    def step(self) -> int:
        """The step that it is of."""
        return int(self.metrics["step"])


@dataclasses.dataclass(frozen=True)
class LogDigest:
    """The digest of the first lines of a log: a chain, which each further line continues.

    That of n + 1 lines is the SHA-256 of the digest of n lines, 32 bytes, and the bytes of the line as
    they are in the file, with its line break; that of none is 32 zero bytes. So a resumed run
    continues it from its checkpoint, without trust in what the file holds by then, and it does not
    depend on how loops were cut.

    Attributes:
      lines: how many lines it covers.
      sha256: the digest, 64 hexadecimal digits.
    """

    lines: int = 0
    sha256: str = "0" * 64

    def followed_by(self, line: bytes) -> LogDigest:
        """Returns the digest of these lines and one more."""
        sha256 = hashlib.sha256(bytes.fromhex(self.sha256) + line).hexdigest()
        return LogDigest(self.lines + 1, sha256)

    def to_json(self) -> dict[str, Any]:
        """Returns what the record of a checkpoint holds."""
        return dataclasses.asdict(self)


def _is_digest(value: Any) -> bool:
    return value is None or (
        json_files.OBJECT.accepts(value)
        and set(value) == {"lines", "sha256"}
        and json_files.WHOLE.accepts(value["lines"])
        and value["lines"] >= 0
        and json_files.TEXT.accepts(value["sha256"])
        and _SHA256.fullmatch(value["sha256"]) is not None
    )


# What `log` of a checkpoint's record must be.
RECORDED = json_files.Kind("a number of lines and their SHA-256, or null", _is_digest)


def read(path: pathlib.Path) -> list[Line]:
    """Returns the lines of a log; none where there is no file.

    A last line that was cut off is left out; so is any other that holds something else, with a warning.
    """
    try:
        with reading.opened(path) as file:
            texts = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        logging.warning("%s cannot be read (%s)", path, error.strerror)
        return []
    lines: list[Line] = []
    bad: dict[int, ValueError] = {}
    for number, text in enumerate(texts, 1):
        try:
            lines.append(Line(text + b"\n", _parse(text)))
        except ValueError as error:
            bad[number] = error
    bad.pop(len(texts), None)  # Empty, or cut off.
    if bad:
        number, error = next(iter(bad.items()))
        more = f"; so are {len(bad) - 1} other lines" if len(bad) > 1 else ""
        logging.warning("line %s of %s is left out: %s%s", number, path, error, more)
    return lines


def _parse(text: bytes) -> dict[str, float]:
    """Reads one line; raises `ValueError` if it holds something else."""
    metrics = json_files.parse(text, STEP)
    if not json_files.NUMBER_BY_NAME.accepts(metrics):
        raise json_files.MalformedError("a value is not a number")
    return {name: math.nan if value is None else value for name, value in metrics.items()}
