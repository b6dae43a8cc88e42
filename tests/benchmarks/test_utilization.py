"""nvidia-smi's output, and what it says of some windows of time."""

import time

import pytest

from benchmarks import utilization
from benchmarks.utilization import Sampler


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0, 87\n", (0, 87)),
        ("11, 0\n", (11, 0)),
        ("1, [N/A]\n", None),
        ("1, [Not Supported]\n", None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", None),
        ("\n", None),
    ],
)
def test_lines(line, expected):
    assert utilization.parse(line) == expected


def test_only_the_windows_and_the_busiest_gpus_count():
    sampler = Sampler()
    # GPU 2 and GPU 0 train; what was before the window is compilation.
    sampler.samples = [(9.0, 0, 1), (10.5, 0, 90), (10.6, 1, 3), (10.7, 2, 80), (11.5, 0, 70), (12.5, 0, 2)]
    windows = [{"started_at": 10.0, "seconds": 2.0}]
    assert sampler.busiest(windows, 1) == 80
    assert sampler.busiest(windows, 2) == 80
    assert sampler.busiest(windows, 3) == pytest.approx((80 + 80 + 3) / 3)
    assert sampler.busiest([{"started_at": 0.0, "seconds": 1.0}], 1) is None


@pytest.fixture
def script(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return write


def test_samples_come_while_it_runs(script):
    script("echo '0, 42'; echo '1, [N/A]'; exec sleep 100")
    deadline = time.monotonic() + 20
    with Sampler() as sampler:
        while not sampler.samples and time.monotonic() < deadline:
            time.sleep(0.01)
    ((at, index, percentage),) = sampler.samples
    assert (index, percentage) == (0, 42)
    assert abs(at - time.time()) < 30
    assert sampler._process.poll() is not None


def test_without_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with Sampler() as sampler:
        pass
    assert sampler.busiest([{"started_at": 0.0, "seconds": time.time() + 1}], 1) is None
