"""Describes this machine: processor, cores, memory, GPUs."""

import os
import pathlib
import platform
from typing import Any

from vaeflow.runs import processes


def describe() -> dict[str, Any]:
    """Returns what a measured time depends on; a value that the system does not tell is None."""
    return {
        "processor": processor(),
        "cores": num_cores(),
        "memory_gib": memory_gib(),
        "gpus": gpus(),
    }


def processor() -> str | None:
    """Returns the model of the processor."""
    return _first_value("/proc/cpuinfo", "model name") or platform.processor() or None


def num_cores() -> int | None:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def memory_gib() -> float | None:
    """Returns the size of the memory in GiB, to one decimal."""
    kibibytes = _first_value("/proc/meminfo", "MemTotal")
    return round(int(kibibytes.split()[0]) / 2**20, 1) if kibibytes else None


def gpus() -> list[str]:
    """Returns the models of the NVIDIA GPUs that this process may use."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
        if not names:
            return []
        command.append(f"--id={','.join(names)}")
    listed = processes.output(command)
    return [line.strip() for line in (listed or "").splitlines() if line.strip()]


def _first_value(path: str, key: str) -> str | None:
    """Returns the first value in a file of lines `key: value`, or None."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.partition(":")[2].strip() for line in lines if line.startswith(key)]
    return found[0] if found else None
