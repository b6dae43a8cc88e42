"""Keeps TensorFlow from rewriting equal graphs differently in different processes."""

import tensorflow as tf

# Both regroup sums and products: arithmetic optimization those of many terms, constant folding those with
# constants, so as to compute with these in advance.
_REGROUPING = ("arithmetic_optimization", "constant_folding")


def make_reproducible() -> None:
    """Switches off the graph rewrites whose result differs from process to process.

    They regroup sums and products in an order that depends on the process. At real sizes two
    runs with one seed then end with different bits. The setting holds for every `tf.function` that this
    process traces or calls later.
    """
    tf.config.optimizer.set_experimental_options(dict.fromkeys(_REGROUPING, False))
