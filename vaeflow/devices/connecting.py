"""Lets other threads run while TensorFlow connects the workers.

Its binding for Python holds Python's lock until the last worker has come. If that one was killed after
the workers had met, no thread could notice it, answer a signal or end the wait.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Generator

import tensorflow as tf
from tensorflow.python import _pywrap_tfe, pywrap_tfe


@contextlib.contextmanager
def unlocked() -> Generator[None]:
    """Calls TensorFlow's function without the lock for as long as the block runs.

    There is no public way: the strategy of several workers calls the binding by itself. Tested in
    `tests/devices/test_connecting.py` and `tests/clusters/test_workers.py`.
    """
    locked = pywrap_tfe.TFE_EnableCollectiveOps
    pywrap_tfe.TFE_EnableCollectiveOps = _connect
    try:
        yield
    finally:
        pywrap_tfe.TFE_EnableCollectiveOps = locked


def _connect(context: object, server: bytes) -> None:
    """Does what the binding does; ctypes gives the lock up during a call.

    Args:
      context: the capsule that holds TensorFlow's eager context.
      server: a serialized `ServerDef`.

    Raises:
      tf.errors.OpError: a worker could not be reached, or failed; one of its subclasses.
    """
    library = _library()
    status = library.TF_NewStatus()
    try:
        library.TFE_EnableCollectiveOps(_pointer(context), server, len(server), status)
        code = library.TF_GetCode(status)
        if code:
            error = tf.compat.v1.errors.exception_type_from_error_code(code)
            raise error(None, None, library.TF_Message(status).decode(errors="replace"))
    finally:
        library.TF_DeleteStatus(status)


def _library() -> ctypes.CDLL:
    """TensorFlow's interface for C, which the binding is linked to."""
    library = ctypes.CDLL(_pywrap_tfe.__file__)
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for name, returned, arguments in (
        ("TF_NewStatus", pointer, []),
        ("TF_GetCode", ctypes.c_int, [pointer]),
        ("TF_Message", ctypes.c_char_p, [pointer]),
        ("TF_DeleteStatus", None, [pointer]),
        ("TFE_EnableCollectiveOps", None, [pointer, ctypes.c_char_p, size, pointer]),
    ):
        function = getattr(library, name)  # The library keeps it.
        function.restype, function.argtypes = returned, arguments
    return library


def _pointer(capsule: object) -> int:
    """The address that a capsule without a name holds."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return get(capsule, None)
