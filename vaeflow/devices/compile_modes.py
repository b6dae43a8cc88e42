"""Which part of the training loop XLA compiles.

With `none` TensorFlow runs its graph as it is. `step` compiles each step. `loop` compiles all
steps of a loop together, which needs the data on the device. All three give the same weights,
up to rounding.

On a CPU `auto` is `none`: XLA's convolutions are slower than oneDNN's, and XLA uses all cores
for each operation, however small; see `cores`. The dense net (batch 128, 2 cores) trains at
49,000 images/s, against 37,000 with `loop`.
"""

from typing import Any

import tensorflow as tf

from vaeflow import validation
from vaeflow.errors import ConfigurationError

MODES = ("auto", "none", "step", "loop")

# A small part of one device's memory. Most arrays are far smaller (MNIST: 47 MB).
_LARGEST_RESIDENT_BYTES = 1 << 30


def resolve_residency(resident_data: bool | str, split: Any) -> bool:
    """Decides whether a split is held on the devices.

    Args:
      resident_data: True, False or `"auto"`, which holds up to 1 GiB there.
      split: a `Split`.

    Raises:
      ConfigurationError: it is True for a split that is not held in memory.
      ValueError: it is something else.
    """
    if resident_data == "auto":
        return split.array is not None and split.array.nbytes <= _LARGEST_RESIDENT_BYTES
    if not isinstance(resident_data, bool):
        raise ValueError(f"`train.resident_data` must be True, False or 'auto', got {resident_data!r}")
    if resident_data and split.array is None:
        raise ConfigurationError(
            "`train.resident_data` is True, but this dataset is not held in memory; set it to 'auto'"
        )
    return resident_data


def check(mode: str, num_replicas: int, resident: bool) -> None:
    """Checks a mode against the number of replicas and the place of the data.

    Raises:
      ConfigurationError: XLA cannot compile for several replicas, nor a loop over
        streamed data.
      ValueError: `mode` is not one of `MODES`.
    """
    validation.one_of("train.compile_mode", mode, MODES)
    if num_replicas > 1 and mode in ("step", "loop"):
        raise ConfigurationError(
            f"`train.compile_mode` {mode!r} works on one replica only, since XLA compiles for one device; "
            f"there are {num_replicas}; set it to 'none' or 'auto'"
        )
    if mode == "loop" and not resident:
        raise ConfigurationError(
            "`train.compile_mode` 'loop' needs the data on the device; use a dataset that is held in memory, "
            "or set the mode to 'step'"
        )


def resolve(mode: str, strategy: tf.distribute.Strategy, resident: bool) -> str:
    """Replaces `"auto"` by the mode that was measured to be fastest, and checks any other.

    Args:
      mode: one of `MODES`.
      strategy: the strategy of the run.
      resident: True if the data is held on the devices.

    Returns:
      `"none"`, `"step"` or `"loop"`.

    Raises:
      ConfigurationError: the mode cannot work here; see `check`.
      ValueError: `mode` is not one of `MODES`.
    """
    num_replicas = strategy.num_replicas_in_sync
    check(mode, num_replicas, resident)
    return _fastest(num_replicas, resident) if mode == "auto" else mode


def _fastest(num_replicas: int, resident: bool) -> str:
    if num_replicas > 1 or not tf.config.list_logical_devices("GPU"):
        return "none"
    return "loop" if resident else "step"
