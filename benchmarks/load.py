"""Measures how much of the machine other processes used while a program was measured.

That decides whether a comparison means anything: PyTorch's threads spin while they wait for one
another, so a process that takes a core from one of them slows PyTorch far more than TensorFlow
(on 2 cores with 3 other busy processes: 30 times, against 2 to 3 times).
"""

import os
import pathlib
import statistics

# A share of the machine's cores; above it no target is judged.
MOST_BY_OTHERS = 0.10

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE, _IO_WAIT, _GUEST = 3, 4, 8


def cpu_seconds_of_machine():
    """Returns how long all cores have been busy, in seconds, including time stolen by a hypervisor."""
    with pathlib.Path("/proc/stat").open(encoding="utf-8") as file:
        ticks = [int(value) for value in file.readline().split()[1:]]
    # User time already contains that of guests.
    busy = sum(ticks[:_GUEST]) - ticks[_IDLE] - ticks[_IO_WAIT]
    return busy / _TICKS


def cpu_seconds_of_session(session_id):
    """Returns the seconds that the processes of a session used, including their threads and ended children.

    Raises:
      ProcessLookupError: the session has no process.
    """
    found = [
        seconds for path in pathlib.Path("/proc").glob("[0-9]*") for seconds in _seconds(path, session_id)
    ]
    if not found:
        raise ProcessLookupError(f"no process belongs to the session {session_id}")
    return sum(found)


def _seconds(path, session_id):
    try:
        text = (path / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # It has just ended.
        return []
    # The name may contain anything; the session is the fourth after it. User and system time come later,
    # and those of the children.
    fields = text.rpartition(")")[2].split()
    return [sum(int(value) for value in fields[11:15]) / _TICKS] if int(fields[3]) == session_id else []


def by_others(windows, num_cores):
    """Returns the share of the cores that others used, the median of the windows, or None without windows."""
    return statistics.median(each["others_cores"] for each in windows) / num_cores if windows else None
