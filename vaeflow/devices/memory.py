"""How much memory is left: of a GPU, of this machine, or of the processes that a container limits."""

import contextlib
import ctypes
import pathlib
from collections.abc import Iterator

import tensorflow as tf

_MEMINFO = pathlib.Path("/proc/meminfo")
_OWN_GROUP = pathlib.Path("/proc/self/cgroup")
_GROUPS = pathlib.Path("/sys/fs/cgroup")
# Where nothing says how much there is.
_ASSUMED = 4 * 2**30


# Of what is left on a device, for data; the rest is for the model and its activations.
_SHARE_FOR_DATA = 0.25
# On a GPU whose memory no driver tells.
_ROOM_ON_UNKNOWN_GPU = 2**30


def room_for_data(num_replicas: int) -> int:
    """Returns how many bytes of data each device may hold besides a model: a quarter of what is left.

    Args:
      num_replicas: the number of replicas in this process, which share the memory of a machine
        without GPUs.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if not gpus:
        return int(_SHARE_FOR_DATA * available_bytes()) // num_replicas
    total = _least_memory_of_gpus()
    if total is None:
        return _ROOM_ON_UNKNOWN_GPU
    used = max(
        tf.config.experimental.get_memory_info(f"GPU:{number}")["current"] for number in range(len(gpus))
    )
    return int(_SHARE_FOR_DATA * max(0, total - used))


def _least_memory_of_gpus() -> int | None:
    """Returns the bytes of the smallest GPU that this process sees; None without NVIDIA's driver.

    TensorFlow has no call for it. This one reads a number, and makes no context on the device.
    """
    with contextlib.suppress(OSError, AttributeError):
        driver = ctypes.CDLL("libcuda.so.1")
        count, device, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            found = [
                size.value
                for number in range(count.value)
                if driver.cuDeviceGet(ctypes.byref(device), number) == 0
                and driver.cuDeviceTotalMem_v2(ctypes.byref(size), device) == 0
            ]
            return min(found, default=None)
    return None


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
