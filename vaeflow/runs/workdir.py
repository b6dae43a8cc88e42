"""A run's folder: its files, its lock, and the rule that one folder holds one configuration."""

from __future__ import annotations

import contextlib
import difflib
import os
import pathlib
from collections.abc import Generator, Mapping
from typing import Any

from absl import logging

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import files, json_files, lock, metrics_log, paths, provenance, reading
from vaeflow.runs.metrics_log import LogDigest

# A folder with one of these is that of a run, or of a benchmark.
_SIGNS = frozenset(
    {lock.NAME, "config.gin", metrics_log.NAME, "checkpoints", "result.json", "benchmark.json"}
)
# What may lie in a new run's folder: what a job system, Ray, other workers or a user write there before.
_HARMLESS_NAMES = frozenset({"workers", "ray", "lost+found"})
_HARMLESS_ENDS = (".gin", ".log", ".out", ".err")
_MOST_NAMED = 5


class WorkDir:
    """The folder of a run.

    Args:
      path: the folder; made, with the lock, by `claim`.
      writable: False on a worker that leaves all writing to the chief: methods that
        would write do nothing.

    Attributes:
      log_digest: the `LogDigest` of the lines of `metrics.jsonl` that this run has written or kept.
    """

    def __init__(self, path: str | os.PathLike[str], writable: bool = True) -> None:
        self.path = paths.checked("--workdir", path)
        self.writable = writable
        self.log_digest = LogDigest()

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> pathlib.Path:
        """The folder of TensorBoard's files."""
        return self.place("tensorboard")

    @property
    def images(self) -> pathlib.Path:
        """The folder of the pictures drawn during training."""
        return self.place("images")

    def place(self, *names: str) -> pathlib.Path:
        """Returns the path of a folder below this one.

        Raises:
          EnvironmentFailure: a link would lead out of the work folder; see `paths.inside`.
        """
        return paths.inside(self.path, *names)

    @contextlib.contextmanager
    def claim(self) -> Generator[None]:
        """Makes the folder and holds its lock, which the system releases when the process dies.

        A folder made here is removed again if nothing was written to it.

        Raises:
          ConfigurationError: the folder holds files of somebody else.
          EnvironmentFailure: the folder cannot be written, or a live run holds it.
        """
        if not self.writable:
            yield
            return
        self._refuse_foreign_folder()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock.made_and_held(self.path))
            except OSError as error:
                raise EnvironmentFailure(
                    f"the work folder {self.path} cannot be written ({error.strerror}); choose another with "
                    "`--workdir`"
                ) from error
            files.remove_unfinished(self.path, folders=False)
            yield

    def _refuse_foreign_folder(self) -> None:
        """Refuses a file, and a folder of the user's own, which a run would fill with its files."""
        if not self.path.is_dir():
            if self.path.exists():
                raise EnvironmentFailure(
                    f"the work folder {self.path} cannot be written (it is a file); choose another with "
                    "`--workdir`"
                )
            return
        with files.reported(self.path):
            names = sorted(path.name for path in self.path.iterdir())
        foreign = [
            name
            for name in names
            if not name.startswith((".", "stacks"))
            and not name.endswith(_HARMLESS_ENDS)
            and name not in _HARMLESS_NAMES
        ]
        if foreign and not _SIGNS & set(names):
            listed = ", ".join(foreign[:_MOST_NAMED]) + (", …" if len(foreign) > _MOST_NAMED else "")
            raise ConfigurationError(
                f"the folder {self.path} holds files that are not a run's: {listed}; choose a new or an "
                "empty one with `--workdir`"
            )

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
        try:
            known = reading.read_text(path)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{path} cannot be read as text: {error}; choose another folder with `--workdir`, or resume "
                "with `--allow_config_change`"
            ) from error
        refuse_change(f"the work folder {self.path}", known, text)

    def has_configuration(self, text: str) -> bool:
        """Whether the folder was made with this configuration; False if it cannot be read."""
        try:
            return reading.read_text(self.path / "config.gin") == text
        except (OSError, ValueError):
            return False

    def write_provenance(
        self, configuration: str, operative_configuration: str, facts: Mapping[str, Any]
    ) -> None:
        """Writes `config.gin`, `operative_config.gin` and `environment.json`."""
        self._write("config.gin", configuration)
        self._write("operative_config.gin", operative_configuration)
        self.write_json("environment.json", provenance.describe(facts))

    def start_metrics(self, step: int, digest: LogDigest | None = None) -> None:
        """Drops the lines of `metrics.jsonl` after `step`, which a resumed run writes again.

        Args:
          step: the last whose line is kept, byte for byte.
          digest: the digest of the log that the checkpoint holds, which the run continues; None if an
            older version wrote it.
        """
        kept = [line.text for line in metrics_log.read(self.path / metrics_log.NAME) if line.step <= step]
        self.log_digest = LogDigest() if digest is None else digest
        for text in kept[self.log_digest.lines :]:
            self.log_digest = self.log_digest.followed_by(text)
        if self.writable:
            with files.writing(self.path / metrics_log.NAME) as file:
                file.writelines(kept)

    def read_metrics(self) -> list[dict[str, float]]:
        """Returns the lines of `metrics.jsonl`, with NaN for null; see `metrics_log.read`."""
        return [line.metrics for line in metrics_log.read(self.path / metrics_log.NAME)]

    def append_metrics(self, line: Mapping[str, float]) -> None:
        """Adds one line to `metrics.jsonl`; non-finite values become null, since JSON has no NaN.

        Args:
          line: `step` and the metrics.

        Raises:
          EnvironmentFailure: the file could not be written.
        """
        if self.writable:
            text = json_files.dumps(line) + "\n"
            files.append_text(self.path / metrics_log.NAME, text)
            self.log_digest = self.log_digest.followed_by(text.encode())

    def result(self) -> dict[str, Any] | None:
        """Returns `result.json` of a finished run as a dict, or None; a damaged one counts as none."""
        path = self.path / "result.json"
        try:
            return json_files.read(path, metrics_log.STEP)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logging.warning("%s is left out: %s", path, error)
            return None

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file, whole or not at all."""
        if self.writable:
            json_files.write(self.path / name, content)

    def _write(self, name: str, text: str) -> None:
        if self.writable:
            files.write_text(self.path / name, text)


def refuse_change(place: str, known: str, text: str) -> None:
    """Raises `ConfigurationError` with the difference if a place was made with another configuration.

    Args:
      place: where the configuration `known` is from, for the message.
      known: its text.
      text: the configuration of this command.
    """
    if known == text:
        return
    lines = difflib.unified_diff(
        known.splitlines(), text.splitlines(), "this work folder", "this command", lineterm="", n=0
    )
    raise ConfigurationError(
        f"{place} was made with another configuration:\n"
        + "\n".join(f"  {line}" for line in lines)
        + "\nchoose another folder with `--workdir`, or resume with `--allow_config_change`"
    )
