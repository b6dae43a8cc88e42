"""Connects this process to a Ray cluster, or starts one on this machine."""

import contextlib
import os
import socket
from collections.abc import Generator
from typing import Any

from vaeflow.devices import allocator
from vaeflow.errors import ConfigurationError
from vaeflow.runs import interpreter

# Read when Ray is imported. Without its dashboard, Ray Train repeats this message endlessly.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "Failed to query Ray Train Controller actor state")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

try:
    import ray
except ModuleNotFoundError as missing:
    raise ConfigurationError("Ray is not installed; pip install 'vaeflow[ray]'") from missing

_ANSWER_SECONDS = 10.0


@contextlib.contextmanager
def connected(address: str, setting: str, otherwise: str, **options: Any) -> Generator[None]:
    """Connects to a cluster while the block runs; all its processes can import vaeflow.

    Args:
      address: `host:port`, or `"auto"` for a cluster that this machine belongs to; `"local"` starts one
        here that ends with the block.
      setting: the address as the user gave it, for messages.
      otherwise: what else the user could do.
      **options: as for `ray.init`.

    Raises:
      ConfigurationError: there is no such cluster.
    """
    # Ray's own type of `logging_level` is narrower than what it takes.
    settings: dict[str, Any] = {
        "logging_level": "warning",
        "runtime_env": {"env_vars": allocator.tuned({})},
        **options,
    }
    try:
        _check_answers(address)
        # Ray puts the current folder on the import path of all its processes.
        with contextlib.chdir(interpreter.vaeflow_folder()):
            ray.init(address, **settings)
    except OSError as error:
        if address == "local":
            raise
        raise ConfigurationError(
            f"{setting}: there is no Ray cluster ({first_line(error)}); start one with `ray start --head`, "
            f"or {otherwise}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def first_line(error: BaseException) -> str:
    """Returns the first line of what an exception says."""
    return (str(error).strip() or repr(error)).splitlines()[0]


def _check_answers(address: str) -> None:
    """Raises an `OSError` if nobody listens at `host:port`; Ray would wait for 15 minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
        except (OverflowError, UnicodeError) as error:  # Of a port, and of a host's name.
            raise OSError(f"{host!r} and {port} cannot be a host and its port: {error}") from error
