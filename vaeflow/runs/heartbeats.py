"""How the workers of a run know of each other: each keeps changing a file in the work folder."""

from __future__ import annotations

import os
import pathlib
import secrets
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vaeflow.errors import FINAL_ENDS, REGULAR_ENDS, EnvironmentFailure, WorkerLost
from vaeflow.runs import files, json_files, paths

if TYPE_CHECKING:
    from vaeflow.devices.workers import Workers


_REQUIRED = {"start": json_files.TEXT, "sees": json_files.TEXT_OR_NULL_BY_NAME}
_OPTIONAL = {"ended": json_files.WHOLE, "reason": json_files.TEXT_OR_NULL}


class Heartbeats:
    """This worker's file, and the content of the others' files.

    `workers/<index>.json` says who the worker is, what it does, and whose starts it has
    seen. A worker is alive while its file keeps changing, by this process's own clock:
    the clocks of two machines are never compared. Each start has a random name that the
    others repeat in their files, so the files of an earlier job are never mistaken for
    workers of this one. The chief writes only while it holds the lock of the folder, and the
    others only once they have seen their own chief write: so a second job on the same folder,
    whose chief is refused, writes nothing that the first could mistake.

    Args:
      folder: the work folder, which all workers share.
      workers: a `Workers`.
      clock: returns seconds that never decrease.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        workers: Workers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = paths.inside(folder, "workers")
        self._workers = workers
        self._clock = clock
        self._start = secrets.token_hex(8)
        self._beats = 0
        self._peers = {index: _Peer() for index in range(workers.size) if index != workers.index}
        self._joined: dict[int, str | None] | None = None
        self._finished: set[int] = set()

    def may_beat(self) -> bool:
        """Whether this worker may write: the chief, and whoever has seen the chief of its own job."""
        if self._workers.is_chief:
            return True
        chief = self._peers[0]
        return chief.start is not None and chief.content.get("address") == self._workers.addresses[0]

    def beat(self, doing: str, ended: int | None = None, reason: str | None = None) -> None:
        """Writes this worker's file.

        Args:
          doing: what the worker does.
          ended: its exit code, if it ends now.
          reason: why it ends, if it failed or was preempted.

        Raises:
          EnvironmentFailure: the file cannot be written; it is as it was before.
        """
        self._beats += 1
        content: dict[str, Any] = {
            "address": self._workers.addresses[self._workers.index],
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": time.time(),
            "start": self._start,
            "beat": self._beats,
            "doing": doing,
            "sees": {str(index): start for index, start in (self._joined or self._starts()).items()},
        }
        if ended is not None:
            content |= {"ended": ended, "reason": reason}
        if self._beats == 1:
            # The chief may not have made the work folder yet.
            with files.reported(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
        # A beat counts for the living only, and the next one follows: no need to wait for the disk.
        json_files.write(self._path(self._workers.index), content, durable=False)

    def look(self) -> None:
        """Reads the files of the others."""
        for index, peer in self._peers.items():
            peer.note(_read(self._path(index)), self._clock())

    def missing(self) -> list[int]:
        """Lists the workers that have not seen this start of this worker, or failed for good."""
        own = str(self._workers.index)
        return [
            index
            for index, peer in self._peers.items()
            if peer.start is None
            or peer.content["sees"].get(own) != self._start
            or peer.content.get("ended") in FINAL_ENDS
        ]

    def join(self) -> None:
        """Remembers the present starts of the others; from now on `problem` is about these."""
        self._joined = self._starts()

    def problem(self, peer_seconds: float) -> WorkerLost | None:
        """Returns the error that says which workers are lost, or None.

        Before `join`, a worker counts as lost only if it failed in a way that another start
        would repeat; afterwards also if it ended with any failure, was restarted, or its file
        has not changed for `peer_seconds`.
        """
        lost: list[str] = []
        exit_code = EnvironmentFailure.exit_code
        for index, peer in self._peers.items():
            if reason := self._problem_with(index, peer, peer_seconds):
                lost.append(f"{self._workers.describe(index)} {reason}")
                if (ended := peer.content.get("ended")) in FINAL_ENDS:
                    exit_code = ended
        return WorkerLost("; ".join(lost), exit_code) if lost else None

    def _problem_with(self, index: int, peer: _Peer, peer_seconds: float) -> str | None:
        if index in self._finished or peer.changed_at is None:
            return None
        ended = peer.content.get("ended")
        if ended in FINAL_ENDS or (self._joined and ended not in (None, *REGULAR_ENDS)):
            reason = peer.content.get("reason")
            return f"ended with code {ended}" + (f": {reason}" if reason else "")
        if not self._joined:
            return None
        if ended is not None:
            # It may be restarted before this worker ends, too.
            self._finished.add(index)
            return None
        if peer.start != self._joined[index]:
            return "was restarted without the others"
        silent_seconds = self._clock() - peer.changed_at
        if silent_seconds > peer_seconds:
            return f"has not been heard of for {silent_seconds:.0f} s"
        return None

    def _starts(self) -> dict[int, str | None]:
        return {index: peer.start for index, peer in self._peers.items()}

    def _path(self, index: int) -> pathlib.Path:
        return self._folder / f"{index}.json"


class _Peer:
    """What is known of another worker.

    Attributes:
      content: the content of its file; empty before the first look and if there is no file.
      changed_at: when we last saw the file change; None before that.
    """

    def __init__(self) -> None:
        self.content: dict[str, Any] = {}
        self.changed_at: float | None = None
        self._looked = False

    @property
    def start(self) -> str | None:
        """The name of its start, if it has written since this process looks; or None."""
        return None if self.changed_at is None else self.content.get("start")

    def note(self, content: dict[str, Any], now: float) -> None:
        """Takes what the file holds at the time `now`."""
        # What the first look finds may have been left by an earlier job.
        if self._looked and content and content != self.content:
            self.changed_at = now
        self._looked = True
        self.content = content or self.content


def _read(path: pathlib.Path) -> dict[str, Any]:
    """The content of a worker's file; empty if there is none or it cannot be read now."""
    try:
        return json_files.read(path, _REQUIRED, _OPTIONAL)
    except (OSError, ValueError):
        return {}
