"""The allocator is tuned where there is glibc."""

import subprocess
import sys

from vaeflow import allocator


def test_tuning_reports_success_only_on_linux(monkeypatch):
    command = [sys.executable, "-c", "from vaeflow import allocator; print(allocator.tune())"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert printed == str(sys.platform.startswith("linux"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.tune() is False
