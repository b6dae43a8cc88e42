"""How much memory is left: of this machine, or of the group of processes that a container limits."""

import pathlib
from collections.abc import Iterator

_MEMINFO = pathlib.Path("/proc/meminfo")
_OWN_GROUP = pathlib.Path("/proc/self/cgroup")
_GROUPS = pathlib.Path("/sys/fs/cgroup")
# Where nothing says how much there is.
_ASSUMED = 4 * 2**30


def available_bytes() -> int:
    """Returns the bytes of memory that this process can still take without another giving some up."""
    return max(0, min([*_of_machine(), *_of_groups()], default=_ASSUMED))


def _of_machine() -> Iterator[int]:
    for line in _lines(_MEMINFO):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) * 1024


def _of_groups() -> Iterator[int]:
    """Yields what the limit of each control group around this process leaves."""
    for line in _lines(_OWN_GROUP):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:  # The second version: one tree for everything.
            root, names = _GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _GROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            yield from _left_in_group(group, *names)


def _left_in_group(group: pathlib.Path, limit: str, used: str, reclaimable: str) -> Iterator[int]:
    """Yields the limit less what is used; pages of files that nothing uses are given back when needed."""
    limits, uses = _lines(group / limit), _lines(group / used)
    if limits and uses and limits[0].isdigit():
        pages = [
            line.split()[1] for line in _lines(group / "memory.stat") if line.startswith(f"{reclaimable} ")
        ]
        yield int(limits[0]) - int(uses[0]) + sum(map(int, pages))


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
