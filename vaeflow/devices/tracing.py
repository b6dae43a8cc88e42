"""Functions of which each trainer or evaluator traces its own.

TensorFlow counts the traces of all functions with the same code. It takes those of five trainers in one
process for those of one function, and warns of frequent retracing. Here it does not.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def traced(function: Any, *arguments: Any) -> Callable:
    """Returns the trace of a `tf.function` for arguments of these shapes; for a debugger, the function.

    Args:
      function: what `tf.function` returned.
      *arguments: tensors, or nests of them.
    """
    return function if tf.config.functions_run_eagerly() else function.get_concrete_function(*arguments)


def call_own(function: Any, *arguments: Any) -> Any:
    """Calls a `tf.function` that was made for one object; arguments as for `traced`."""
    return traced(function, *arguments)(*arguments)
