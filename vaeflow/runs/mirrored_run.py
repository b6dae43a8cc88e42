"""A run and its copy in a remote folder, which a new machine fetches.

    mirror.json                          which run this is, and which start of it writes here
    config.gin, metrics.jsonl, …         before the checkpoints that count on their lines
    checkpoints/step-…/variables.*
    checkpoints/step-…/record.json       after the files whose digests it holds
    result.json                          last

A checkpoint counts if its record is there and the digests agree. So whenever the copying ends, a reader finds
whole checkpoints, and the lines of the log that belong to them.
"""

from __future__ import annotations

import pathlib
import secrets
from collections.abc import Iterable, Mapping

from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs import checkpoint_files, fetched_run, json_files, reading, workdir
from vaeflow.runs.checkpoint_folder import CheckpointFolder
from vaeflow.runs.fetched_run import CHECKPOINT_FILE, CHECKPOINTS, FILES, FOLDERS, RESULT
from vaeflow.runs.remote_folder import RemoteFolder
from vaeflow.runs.workdir import WorkDir

NAME = "mirror.json"

_RUN = {"run": json_files.TEXT}
_OWNER = {**_RUN, "start": json_files.TEXT}


class Superseded(EnvironmentFailure):
    """Another start of the same run has taken the remote folder."""


class MirroredRun:
    """The run in a work folder, and its copy in a remote folder. One process at a time writes there.

    The local folder is the truth: what it deletes goes in the copy too, and where it holds a run, nothing of
    that is read from the copy.

    Args:
      folder: the `WorkDir`.
      remote: the `RemoteFolder` of this run alone.
    """

    def __init__(self, folder: WorkDir, remote: RemoteFolder) -> None:
        self._folder = folder
        self._remote = remote
        self._checkpoints = CheckpointFolder(folder.checkpoints)
        self._run = self._own_run()
        self._start = secrets.token_hex(8)
        self._is_claimed = False
        self._copied: dict[str, tuple[int, int]] = {}  # Files -> their state when they were copied.
        self._records: dict[int, bytes | None] = {}  # Steps -> the record in the copy.

    def has_begun(self) -> bool:
        """Whether the work folder holds a run to go on with."""
        return bool(self._checkpoints.steps()) or (self._folder.path / RESULT).exists()

    def finished(self) -> dict[int, tuple[int, int] | None]:
        """Returns the finished checkpoints: step -> what changes when more becomes known of it."""
        paths = {step: self._checkpoints.path(step) for step in self._checkpoints.steps()}
        return {step: _state(path / checkpoint_files.RECORD) for step, path in paths.items()}

    def fetch(self, configuration: str, allow_change: bool) -> int | None:
        """Fetches the run into a work folder that holds none, and takes the remote folder for it.

        Args:
          configuration: the text of this command's `config.gin`.
          allow_change: whether to take a run of another configuration.

        Returns:
          The step of the newest whole checkpoint; None if there is none, so that the run begins.

        Raises:
          ConfigurationError: the remote folder holds something else than a run of this configuration.
          EnvironmentFailure: it cannot be read, or none of its checkpoints is whole.
        """
        newest, known = None, self._owner()
        if known is not None:
            content = self._remote.read(FILES[0])
            if content is not None and not allow_change:
                workdir.refuse_change(
                    f"the run in {self._remote}", content.decode(errors="replace"), configuration
                )
            self._run = known["run"]
            newest = fetched_run.fetch(self._remote, self._folder)
        self.claim(may_be_behind=True)
        return newest

    def claim(self, may_be_behind: bool = False) -> None:
        """Writes to the remote folder that this start of this run owns it.

        A machine that was thought to be dead, and the one that took its place, would undo each other's work:
        whichever came last goes on.

        Args:
          may_be_behind: whether the copy may hold a later step than the work folder.

        Raises:
          ConfigurationError: it belongs to another run, or to a later state of this one.
          Superseded: another start has claimed it since.
          EnvironmentFailure: it cannot be read or written.
        """
        known = self._owner()
        if known is not None and known["run"] != self._run:
            raise self._foreign("another run")
        if known is not None and self._is_claimed:
            if known["start"] != self._start:
                raise Superseded(
                    f"another start of this run writes to {self._remote} now; nothing more is copied "
                    "from here"
                )
            return
        names = self._remote.files()
        if known is None and names:
            raise self._foreign(f"files that no run has copied there, such as {next(iter(names))}")
        if not may_be_behind:
            self._refuse_newer(names)
        self._run = self._run or secrets.token_hex(16)
        # First here if there is a run; else last, so that the folder stays as it was if this fails.
        if self.has_begun():
            self._folder.write_json(NAME, {"run": self._run})
        self._remote.write(NAME, json_files.dumps({"run": self._run, "start": self._start}, 1).encode())
        self._folder.write_json(NAME, {"run": self._run})
        self._is_claimed = True

    def copy(self) -> None:
        """Copies what is finished and not copied yet, and removes what the work folder no longer holds.

        Raises:
          ConfigurationError, Superseded: as for `claim`; nothing was written.
          EnvironmentFailure: it cannot be written.
        """
        try:
            self.claim()
            self._copy(self._remote.files())
        except OSError as error:
            raise EnvironmentFailure(f"{self._folder.path} cannot be read ({error})") from error

    def left(self) -> list[str]:
        """Lists what is not copied in its present state."""
        states = {name: _state(path) for name, path in self._local_files().items()}
        left = [name for name, state in states.items() if self._copied.get(name) != state]
        steps = [step for step in self._checkpoints.steps() if self._records.get(step) != self._record(step)]
        return left + [f"{CHECKPOINTS}/{self._checkpoints.path(step).name}" for step in steps]

    def _own_run(self) -> str | None:
        """Returns the identity of the run in the work folder, or None if it was never copied."""
        path = self._folder.path / NAME
        try:
            return json_files.read(path, _RUN)["run"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise EnvironmentFailure(
                f"{path}, which says what run its copy is of, is unreadable ({error})"
            ) from error

    def _owner(self) -> Mapping[str, str] | None:
        """Returns which run and which start of it the remote folder belongs to, or None."""
        content = self._remote.read(NAME)
        try:
            return None if content is None else json_files.parse(content, _OWNER)
        except ValueError as error:
            raise self._foreign(f"a {NAME} that is not ours ({error})") from error

    def _foreign(self, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._remote} holds {what}, which is not overwritten; choose another `Mirror.url`, or a "
            "`--workdir` of another name, which the folder there gets too"
        )

    def _refuse_newer(self, names: Iterable[str]) -> None:
        """Refuses to undo what another machine has trained of this run."""
        there, here = fetched_run.finished_steps(names), self._checkpoints.steps()
        if there and here and there[-1] > here[-1]:
            raise ConfigurationError(
                f"{self._remote} holds step {there[-1]} of this run, and {self._folder.path} only step "
                f"{here[-1]}: remove that folder to go on from the copy, or the copy to go on from here"
            )

    def _copy(self, there: Mapping[str, object]) -> None:
        # First, since training goes on: a checkpoint counts on lines that the log has by then.
        records = {step: self._record(step) for step in reversed(self._checkpoints.steps())}
        local = self._local_files()
        result = local.pop(RESULT, None)
        for name, path in local.items():
            self._copy_file(name, path)
        for step, record in records.items():
            if record is not None and self._records.get(step) != record:
                self._copy_checkpoint(step, record, there)
        if result is not None:
            self._copy_file(RESULT, result)
        self._remove_old(there)

    def _local_files(self) -> dict[str, pathlib.Path]:
        """Returns what is copied besides checkpoints: name -> path."""
        root = self._folder.path
        found = [root / name for name in (*FILES, RESULT)]
        for folder in FOLDERS:
            found += sorted(path for path in (root / folder).glob("*") if not path.name.startswith("."))
        return {
            path.relative_to(root).as_posix(): path
            for path in found
            if path.is_file() and not path.is_symlink()
        }

    def _copy_file(self, name: str, path: pathlib.Path) -> None:
        state = _state(path)
        if state is None or self._copied.get(name) == state:
            return
        try:
            with reading.opened(path) as file:
                content = file.read()  # Whole at this moment: it may grow.
        except FileNotFoundError:
            return
        self._remote.write(name, content)
        self._copied[name] = state

    def _copy_checkpoint(self, step: int, record: bytes, there: Mapping[str, object]) -> None:
        """Copies a checkpoint, its record last; one that has been removed meanwhile is left out."""
        path = self._checkpoints.path(step)
        name = f"{CHECKPOINTS}/{path.name}/{checkpoint_files.RECORD}"
        known = self._remote.read(name) if name in there else None
        try:
            sums = checkpoint_files.read_record(path, step)["sha256"]
            if _sums(known) != sums:
                self._remote.remove(name)
                for file in sums:
                    self._remote.put(path / file, f"{CHECKPOINTS}/{path.name}/{file}")
        except (FileNotFoundError, ValueError):  # Removed, or damaged and of no use there either.
            return
        if known != record:
            self._remote.write(name, record)
        self._records[step] = record

    def _record(self, step: int) -> bytes | None:
        try:
            with reading.opened(self._checkpoints.path(step) / checkpoint_files.RECORD) as file:
                return file.read()
        except OSError:
            return None

    def _remove_old(self, there: Iterable[str]) -> None:
        """Removes from the copy what the work folder no longer holds."""
        steps = self._checkpoints.steps()
        kept = {self._checkpoints.path(step).name for step in steps}
        matches = [match for name in there if (match := CHECKPOINT_FILE.fullmatch(name))]
        # Records first: a checkpoint that is half gone must not look like one.
        for match in sorted(matches, key=lambda match: match[3] != checkpoint_files.RECORD):
            if match[1] not in kept:
                self._remote.remove(match[0])
        local = self._local_files()
        for name in there:
            if name.partition("/")[0] in (*FOLDERS, RESULT) and name not in local:
                self._remote.remove(name)
        self._records = {step: record for step, record in self._records.items() if step in steps}


def _sums(record: bytes | None) -> dict[str, str] | None:
    """Returns the digests in a record, or None if it holds none."""
    try:
        return json_files.parse(record or b"", {"sha256": json_files.TEXT_BY_NAME})["sha256"]
    except ValueError:
        return None


def _state(path: pathlib.Path) -> tuple[int, int] | None:
    """Returns what changes when a file does; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
