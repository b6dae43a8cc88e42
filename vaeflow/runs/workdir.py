"""A run's folder: its files, its lock, and the rule that one folder holds one configuration."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import json
import math
import os
import pathlib
import platform
import shutil
import sys
from collections.abc import Generator, Mapping
from importlib import metadata
from typing import Any

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import files, machine, paths, processes

_LOCK = ".lock"
_PACKAGES = ("vaeflow", "tensorflow", "keras", "numpy", "gin-config", "tensorboard")


class WorkDir:
    """The folder of a run.

    Args:
      path: the folder; made, with the lock, by `claim`.
      writable: False on a worker that leaves all writing to the chief: methods that
        would write do nothing.
    """

    def __init__(self, path: str | os.PathLike[str], writable: bool = True) -> None:
        self.path = paths.checked("--workdir", path)
        self.writable = writable
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.images = self.path / "images"

    @contextlib.contextmanager
    def claim(self) -> Generator[None]:
        """Makes the folder and holds its lock, which the system releases when the process dies.

        A folder made here is removed again if an exception leaves it empty.

        Raises:
          EnvironmentFailure: the folder cannot be written, or a live run holds it.
        """
        if not self.writable:
            yield
            return
        existed = self.path.exists()
        if existed and not self.path.is_dir():
            raise EnvironmentFailure(
                f"the work folder {self.path} cannot be written (it is a file); choose another with "
                "`--workdir`"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("a")
        except OSError as error:
            raise EnvironmentFailure(
                f"the work folder {self.path} cannot be written ({error.strerror}); choose "
                "another with `--workdir`"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise EnvironmentFailure(
                    f"the work folder {self.path} is in use by a live run; wait for it, or choose another "
                    "with `--workdir`"
                ) from error
            files.remove_unfinished(self.path, folders=False)
            try:
                yield
            except BaseException:
                if not existed and list(self.path.iterdir()) == [self.path / _LOCK]:
                    shutil.rmtree(self.path)
                raise

    def check_configuration(self, text: str, allow_change: bool = False) -> None:
        """Refuses a configuration other than the one that the folder was made with.

        Args:
          text: the configuration of this command, as `config.gin` would hold it.
          allow_change: True to accept another.

        Raises:
          ConfigurationError: it differs; the message shows the difference.
        """
        path = self.path / "config.gin"
        if allow_change or not path.exists():
            return
        known = path.read_text()
        if known != text:
            lines = difflib.unified_diff(
                known.splitlines(), text.splitlines(), "this work folder", "this command", lineterm="", n=0
            )
            raise ConfigurationError(
                f"the work folder {self.path} was made with another configuration:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nchoose another folder with `--workdir`, or resume with `--allow_config_change`"
            )

    def write_provenance(
        self, configuration: str, operative_configuration: str, facts: Mapping[str, str]
    ) -> None:
        """Writes `config.gin`, `operative_config.gin` and `environment.json`."""
        self._write("config.gin", configuration)
        self._write("operative_config.gin", operative_configuration)
        environment = {
            "command": sys.argv,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: _version(name) for name in _PACKAGES},
            "git_revision": _git_revision(),
            "machine": machine.describe(),
            **facts,
        }
        self.write_json("environment.json", environment)

    def start_metrics(self, step: int) -> None:
        """Drops the lines of `metrics.jsonl` after `step`, which a resumed run writes again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        self._write("metrics.jsonl", "".join(map(_as_json, kept)))

    def read_metrics(self) -> list[dict[str, float]]:
        """Returns the lines of `metrics.jsonl`, with NaN for null and without a line that was cut off."""
        try:
            lines = (self.path / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        parsed: list[dict[str, float]] = []
        for line in lines:
            with contextlib.suppress(ValueError):
                metrics = json.loads(line)
                parsed.append({name: math.nan if value is None else value for name, value in metrics.items()})
        return parsed

    def append_metrics(self, line: Mapping[str, float]) -> None:
        """Adds one line to `metrics.jsonl`; non-finite values become null, since JSON has no NaN.

        Args:
          line: `step` and the metrics.

        Raises:
          EnvironmentFailure: the file could not be written.
        """
        if not self.writable:
            return
        path = self.path / "metrics.jsonl"
        with files.reported(path), path.open("a") as file:
            file.write(_as_json(line))

    def result(self) -> dict[str, Any] | None:
        """Returns `result.json` of a finished run as a dict, or None."""
        try:
            return json.loads((self.path / "result.json").read_text())
        except FileNotFoundError:
            return None

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file, whole or not at all."""
        self._write(name, json.dumps(content, indent=1) + "\n")

    def _write(self, name: str, text: str) -> None:
        if self.writable:
            files.write_text(self.path / name, text)


def _as_json(line: Mapping[str, float]) -> str:
    finite = {name: value if math.isfinite(value) else None for name, value in line.items()}
    return json.dumps(finite, allow_nan=False) + "\n"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The revision of the running code, with `+changes` if the tree was edited; or None."""
    source = pathlib.Path(__file__).parent
    command = ["git", "-C", str(source), "describe", "--always", "--abbrev=40", "--dirty=+changes"]
    described = processes.output(command, seconds=10)
    return described and described.strip()
