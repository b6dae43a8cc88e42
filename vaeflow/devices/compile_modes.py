"""Which part of the training loop is compiled by XLA.

`none`: TensorFlow's graph as it is. `step`: each step. `loop`: all steps of a loop
together, which needs the data on the device. All give the same weights, up to
rounding.

On a CPU `auto` is `none`: XLA's convolutions are slower than oneDNN's, and it takes all
cores for each of a small net's operations; see `cores`. The dense net, batch 128, 2 cores:
49,000 images/s against 37,000 with `loop`.
"""

import tensorflow as tf

from vaeflow import validation
from vaeflow.errors import ConfigurationError

MODES = ("auto", "none", "step", "loop")

# Of one device's memory. The arrays people keep in memory (MNIST: 47 MB) are far below.
_LARGEST_RESIDENT_BYTES = 1 << 30


def resolve_residency(resident_data, split):
    """Decides whether a split is held on the devices.

    Args:
      resident_data: True, False or `"auto"`.
      split: a `Split`.

    Raises:
      ConfigurationError: True for a split that is not held in memory.
    """
    validation.one_of("train.resident_data", resident_data, (True, False, "auto"))
    if resident_data is True and split.array is None:
        raise ConfigurationError(
            "`train.resident_data` is True, but this dataset is not held in memory; set it to 'auto'"
        )
    if resident_data == "auto":
        return split.array is not None and split.array.nbytes <= _LARGEST_RESIDENT_BYTES
    return resident_data


def check(mode, num_replicas, resident):
    """Raises `ConfigurationError` where a mode cannot work with so many replicas, or with streamed data."""
    validation.one_of("train.compile_mode", mode, MODES)
    if num_replicas > 1 and mode in ("step", "loop"):
        raise ConfigurationError(
            f"`train.compile_mode` {mode!r} works on one replica: XLA compiles for one device, and there are "
            f"{num_replicas}; set it to 'none' or 'auto'"
        )
    if mode == "loop" and not resident:
        raise ConfigurationError(
            "`train.compile_mode` 'loop' needs the data on the device; use a dataset that is held in memory, "
            "or set it to 'step'"
        )


def resolve(mode, strategy, resident):
    """Replaces `"auto"` by what was measured to be fastest, and checks the rest.

    Args:
      mode: one of `MODES`.
      strategy: the strategy of the run.
      resident: whether the data is held on the devices.

    Returns:
      `"none"`, `"step"` or `"loop"`.

    Raises:
      ConfigurationError: the mode cannot work here.
    """
    num_replicas = strategy.num_replicas_in_sync
    check(mode, num_replicas, resident)
    return _fastest(num_replicas, resident) if mode == "auto" else mode


def _fastest(num_replicas, resident):
    if num_replicas > 1 or not tf.config.list_logical_devices("GPU"):
        return "none"
    return "loop" if resident else "step"
