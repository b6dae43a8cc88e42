"""Keeps TensorFlow from rewriting equal graphs differently in different processes."""

import tensorflow as tf


def make_reproducible() -> None:
    """Switches off the graph rewrites whose result differs from process to process.

    Grappler's arithmetic optimization regroups sums and products in an order that depends
    on the process. At real sizes two runs with one seed then end with different bits.
    The setting holds for every `tf.function` that this process traces or calls later.
    """
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
