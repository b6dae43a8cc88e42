"""How much of the machine something else used while a program was measured.

It decides whether a comparison means anything: PyTorch's threads spin while they wait for one
another, so where another process takes a core from one of them it loses far more than TensorFlow does
(on 2 cores with 3 busy processes beside: 30 times, against 2 to 3 times).
"""

import os
import pathlib
import statistics

# Of a machine's cores; above it no target is judged.
MOST_BY_OTHERS = 0.10

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE, _IO_WAIT, _GUEST = 3, 4, 8


def cpu_seconds_of_machine():
    """Returns the seconds that all cores were busy since the start, what a hypervisor stole included."""
    with open("/proc/stat") as file:
        ticks = [int(value) for value in file.readline().split()[1:]]
    # What guests used is counted under user time already.
    busy = sum(ticks[:_GUEST]) - ticks[_IDLE] - ticks[_IO_WAIT]
    return busy / _TICKS


def cpu_seconds_of_process(process_id):
    """Returns the seconds that a process used, with those of its threads and ended children."""
    text = pathlib.Path(f"/proc/{process_id}/stat").read_text()
    # After the name, which may hold anything: user, system, and both of the children.
    return sum(int(value) for value in text.rpartition(")")[2].split()[11:15]) / _TICKS


def by_others(windows, num_cores):
    """Returns the part of the cores that others used, the median of windows; None where there are none."""
    return statistics.median(each["others_cores"] for each in windows) / num_cores if windows else None
