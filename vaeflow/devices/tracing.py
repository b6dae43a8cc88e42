"""Calls of functions of which each trainer or evaluator traces its own."""

from typing import Any

import tensorflow as tf


def call_own(function: Any, *arguments: Any) -> Any:
    """Calls a `tf.function` that was made for one object, without TensorFlow's warning of frequent retracing.

    TensorFlow counts the traces of all functions with the same code, and takes those of five trainers in
    one process for those of one function.

    Args:
      function: what `tf.function` returned.
      *arguments: tensors, or nests of them.
    """
    if tf.config.functions_run_eagerly():  # For a debugger.
        return function(*arguments)
    return function.get_concrete_function(*arguments)(*arguments)
