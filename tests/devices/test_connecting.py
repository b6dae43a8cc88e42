"""What TensorFlow's function says where the workers cannot be connected.

That other threads run meanwhile is shown in `tests/clusters/test_workers.py`.
"""

import socket
import subprocess
import sys

import pytest

PROGRAM = """
import tensorflow as tf
from vaeflow.devices import strategies

try:
    strategies.automatic()
except tf.errors.UnknownError as error:
    print(error.message)
"""


@pytest.mark.processes
def test_its_error_is_raised(monkeypatch):
    """In a process of its own, whose context is lost."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses = f'"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:1"'
        task = '{"type": "worker", "index": 0}'
        monkeypatch.setenv("TF_CONFIG", f'{{"cluster": {{"worker": [{addresses}]}}, "task": {task}}}')
        said = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        ).stdout
    assert said == "Could not start gRPC server\n"
