"""Keeps TensorFlow from computing the same in another order in another process."""

import tensorflow as tf

from vaeflow.devices import order_of_sums

# Both regroup sums and products: arithmetic optimization those of many terms, constant folding those with
# constants, so as to compute with these in advance.
_REGROUPING = ("arithmetic_optimization", "constant_folding")


def make_reproducible() -> None:
    """Switches off the graph rewrites that differ from process to process, and fixes the order of sums.

    The rewrites regroup sums and products in an order that depends on the process. At real sizes two
    runs with one seed then end with different bits. The settings hold for every `tf.function` that this
    process traces or calls later.
    """
    order_of_sums.fix()
    tf.config.optimizer.set_experimental_options(dict.fromkeys(_REGROUPING, False))
