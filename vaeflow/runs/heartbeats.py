"""How the workers of a run know of each other: files in the work folder that change while they live."""

import json
import os
import pathlib
import secrets
import socket
import time

from vaeflow.errors import FINAL_ENDS, REGULAR_ENDS
from vaeflow.runs import files


class Heartbeats:
    """This worker's file, and what the others' files say.

    `workers/<index>.json` says who the worker is, what it does, and whose starts it has
    seen. A worker is alive while its file keeps changing, by this process's own clock:
    the clocks of two machines are never compared. Each start has a name of its own that
    the others repeat in their files, so what an earlier job left is never taken for a
    worker of this one.

    Args:
      folder: the work folder, which all workers share.
      workers: a `Workers`.
      clock: gives seconds that never go back.
    """

    def __init__(self, folder, workers, clock=time.monotonic):
        self._folder = pathlib.Path(folder) / "workers"
        self._workers = workers
        self._clock = clock
        self._start = secrets.token_hex(8)
        self._beats = 0
        self._peers = {index: _Peer() for index in range(workers.size) if index != workers.index}
        self._joined = None
        self._finished = set()

    def beat(self, doing, ended=None, reason=None):
        """Writes this worker's file.

        Args:
          doing: what it does.
          ended: its exit code, if it ends now.
          reason: why it ends, if not regularly.

        Raises:
          EnvironmentFailure: the file cannot be written; it is as it was before.
        """
        self._beats += 1
        content = {
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
        # A beat counts for the living only, and the next one follows: no need to wait for the disk.
        files.write_text(self._path(self._workers.index), json.dumps(content), durable=False)

    def look(self):
        """Reads the files of the others."""
        for index, peer in self._peers.items():
            peer.note(_read(self._path(index)), self._clock())

    def missing(self):
        """Lists the workers that have not seen this start of this worker."""
        own = str(self._workers.index)
        return [
            index
            for index, peer in self._peers.items()
            if peer.start is None or peer.content["sees"].get(own) != self._start
        ]

    def join(self):
        """Holds on to the starts of the others as they are now: `problem` is about these."""
        self._joined = self._starts()

    def problem(self, peer_seconds):
        """Says which worker is lost, or None.

        Before `join` only a worker whose end a new start would repeat is lost; after
        it, also one that ended with any failure, was started anew, or whose file has not
        changed for `peer_seconds`.
        """
        found = []
        for index, peer in self._peers.items():
            if reason := self._problem_with(index, peer, peer_seconds):
                found.append(f"{self._workers.describe(index)} {reason}")
        return "; ".join(found) or None

    def _problem_with(self, index, peer, peer_seconds):
        if index in self._finished or peer.changed_at is None:
            return None
        ended = peer.content.get("ended")
        if ended in FINAL_ENDS or (self._joined and ended not in (None, *REGULAR_ENDS)):
            reason = peer.content.get("reason")
            return f"ended with code {ended}" + (f": {reason}" if reason else "")
        if not self._joined:
            return None
        if ended is not None:
            # It may be started anew before this worker ends, too.
            self._finished.add(index)
            return None
        if peer.start != self._joined[index]:
            return "was started anew, without the others"
        silent_seconds = self._clock() - peer.changed_at
        if silent_seconds > peer_seconds:
            return f"has not been heard of for {silent_seconds:.0f} s"
        return None

    def _starts(self):
        return {index: peer.start for index, peer in self._peers.items()}

    def _path(self, index):
        return self._folder / f"{index}.json"


class _Peer:
    """What is known of another worker.

    Attributes:
      content: its file, a dict; empty where there is none, None before the first look.
      changed_at: when the file last changed under our eyes; None before that.
    """

    def __init__(self):
        self.content = None
        self.changed_at = None

    @property
    def start(self):
        """The name of its start, if it wrote since this process looks; or None."""
        return None if self.changed_at is None else self.content.get("start")

    def note(self, content, now):
        if self.content is not None and content and content != self.content:
            self.changed_at = now
        # What the first look finds may have been left by an earlier job.
        self.content = content or self.content or {}


def _read(path):
    """The content of a worker's file; empty where there is none, or it cannot be read now."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    known = isinstance(content, dict) and isinstance(content.get("sees"), dict)
    return content if known else {}
