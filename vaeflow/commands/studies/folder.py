"""The folder of a study: its runs, their records and logs, and what is known of those that failed."""

import contextlib
import hashlib
import pathlib
from collections.abc import Generator
from typing import Any

from vaeflow.devices.slurm_array import Part
from vaeflow.errors import ConfigurationError
from vaeflow.runs import files, json_files, lock, paths

_RUNS, _RECORDS, _LOGS, _FAILURES, _PARTS = "runs", "records", "logs", "failures", "parts"
# A folder with one of these is that of a run, or of a benchmark.
_OF_A_RUN = ("config.gin", "metrics.jsonl", "checkpoints", "benchmark.json")
_FAILURE = {
    "configuration": json_files.TEXT,
    "exit_code": json_files.Kind(
        "an exit code", lambda value: json_files.WHOLE.accepts(value) and 0 < value < 256
    ),
    "message": json_files.TEXT,
    "seconds": json_files.NUMBER,
}


class StudyFolder:
    """The folder of a study; no link in it leads out of it.

    Args:
      path: the folder.
      results: the folder of the records; None for `records` in it.

    Raises:
      EnvironmentFailure: a link would lead out of the folder; see `paths.inside`.

    Attributes:
      path: the folder.
      results: the folder of the records.
      runs: the folder of the work folders.
    """

    def __init__(self, path: str, results: str | None = None) -> None:
        self.path = paths.checked("--workdir", path)
        self.runs = self._place(_RUNS)
        self.results = self._place(_RECORDS) if results is None else pathlib.Path(results)

    def refuse_folder_of_a_run(self) -> None:
        """Refuses the work folder of a run, in which a study would get lost.

        Raises:
          ConfigurationError: it is one, or a file.
        """
        if any((self.path / name).exists() for name in _OF_A_RUN):
            raise ConfigurationError(
                f"{self.path} is the work folder of a run; choose another for the study with `--workdir`"
            )
        if self.path.exists() and not self.path.is_dir():
            raise ConfigurationError(f"{self.path} is a file; choose a folder for the study with `--workdir`")

    @contextlib.contextmanager
    def claim(self, part: Part | None) -> Generator[None]:
        """Makes the folder and that of the records, and holds its lock; the parts of a study hold one each.

        Args:
          part: which part of the study this process runs; None for all of it.

        Raises:
          EnvironmentFailure: it cannot be written, or another process holds the lock.
        """
        locked = self.path if part is None else self._place(_PARTS, f"{part.index}_of_{part.count}")
        with files.reported(locked):
            for folder in (locked, self.runs, self._place(_LOGS), self._place(_FAILURES)):
                folder.mkdir(parents=True, exist_ok=True)
        with files.reported(self.results):
            self.results.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            with files.reported(locked):
                stack.enter_context(lock.held(locked, "the study's folder"))
            files.remove_unfinished(locked, folders=False)
            yield

    def log(self, name: str) -> pathlib.Path:
        """Returns the path of a run's log."""
        return self._place(_LOGS) / f"{name}.log"

    def remember_failure(
        self, name: str, configuration: str, code: int, message: str, seconds: float
    ) -> None:
        """Writes down how a run failed, for the table and for the next command.

        Args:
          name: of the run.
          configuration: `Configured.trained` of the run.
          code: its exit code.
          message: its message.
          seconds: how long it took.
        """
        json_files.write(
            self._failure(name),
            {
                "configuration": _digest(configuration),
                "exit_code": code,
                "message": message,
                "seconds": seconds,
            },
        )

    def forget_failure(self, name: str) -> None:
        """Forgets how a run failed, as it is run again."""
        with files.reported(self._failure(name)):
            self._failure(name).unlink(missing_ok=True)

    def failure(self, name: str, configuration: str) -> dict[str, Any] | None:
        """Returns `exit_code`, `message` and `seconds` of a run that failed; None if none is known.

        Args:
          name: of the run.
          configuration: `Configured.trained` of the run; what another configuration did does not count.
        """
        try:
            found = json_files.read(self._failure(name), _FAILURE)
        except (OSError, ValueError):
            return None
        known = {name: found[name] for name in _FAILURE}
        return known if known.pop("configuration") == _digest(configuration) else None

    def _failure(self, name: str) -> pathlib.Path:
        return self._place(_FAILURES) / f"{name}.json"

    def _place(self, *names: str) -> pathlib.Path:
        return paths.inside(self.path, *names)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
