"""Chooses TensorFlow's graph rewrites, so that every process computes in the same order."""

import tensorflow as tf

from vaeflow.devices import order_of_sums

# Both regroup sums and products: arithmetic optimization those of many terms, constant folding those with
# constants, so as to compute with these in advance.
_REGROUPING = ("arithmetic_optimization", "constant_folding")
# It finds nothing to change for a CPU, for which it takes 0.1 to 0.3 s of a residual net's first step.
_FOR_GPUS = ("layout_optimizer",)


def choose() -> None:
    """Switches off the rewrites that differ from process to process or are in vain; fixes the order of sums.

    Some rewrites regroup sums and products in an order that depends on the process. At real sizes two
    runs with one seed then end with different bits. The settings hold for every `tf.function` that this
    process traces or calls later.
    """
    order_of_sums.fix()
    in_vain = () if tf.config.list_physical_devices("GPU") else _FOR_GPUS
    tf.config.optimizer.set_experimental_options(dict.fromkeys(_REGROUPING + in_vain, False))
