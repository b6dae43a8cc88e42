"""Measures how busy the GPUs are, with nvidia-smi."""

import contextlib
import statistics
import subprocess
import threading
import time

_COMMAND = [
    "nvidia-smi",
    "--query-gpu=index,utilization.gpu",
    "--format=csv,noheader,nounits",
    "--loop-ms=200",
]


class Sampler:
    """Samples the utilization of every GPU while the block runs; without nvidia-smi there are no samples.

    Attributes:
      samples: tuples of the time in seconds since 1970, the index of a GPU, and a
        percentage.
    """

    def __init__(self):
        self.samples = []
        self._process = None

    def __enter__(self):
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                _COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
            )
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def busiest(self, windows, num_gpus):
        """Averages the GPUs that are busiest during some windows.

        Args:
          windows: a list of dicts with `started_at` and `seconds`.
          num_gpus: how many GPUs were in use; nvidia-smi numbers them in an order of its
            own, so the busiest ones count.

        Returns:
          A percentage, or None without samples.
        """
        of_gpu = {}
        for at, index, percentage in list(self.samples):
            if any(0 <= at - window["started_at"] <= window["seconds"] for window in windows):
                of_gpu.setdefault(index, []).append(percentage)
        means = sorted(map(statistics.mean, of_gpu.values()), reverse=True)[:num_gpus]
        return statistics.mean(means) if means else None

    def _read(self):
        with self._process.stdout as lines:
            for line in lines:
                if (sample := parse(line)) is not None:
                    self.samples.append((time.time(), *sample))


def parse(line):
    """Reads a line of nvidia-smi, `0, 87`; returns the index and the percentage, or None for any other."""
    fields = line.split(",")
    try:
        index, percentage = map(int, fields)
    except ValueError:
        # A driver that cannot tell says `[N/A]`; one that fails, a sentence.
        return None
    return index, percentage
