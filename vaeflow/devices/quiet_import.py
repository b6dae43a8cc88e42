"""Imports TensorFlow without its start-up lines."""

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator


def import_tensorflow() -> None:
    """Imports TensorFlow; what its libraries write to stderr is shown only if the import fails.

    They log half a dozen lines before they read the log level, past Python's own stream.
    """
    with _quiet_stderr():
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Holds back what is written to stderr, unless the block ends in an exception."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(stderr, held_back.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
