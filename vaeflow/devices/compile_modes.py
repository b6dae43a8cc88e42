"""Which part of the training loop XLA compiles.

With `none` TensorFlow runs its graph as it is. `step` compiles each step, on several replicas what
each of them computes between reading the weights and summing gradients; see `training.compiled_pass`.
`loop` compiles all steps of a loop together, which needs one replica and the data on the device. All three
give the same weights, up to rounding.

On a CPU `auto` is `none`: XLA's convolutions are slower than oneDNN's, and XLA uses all cores
for each operation, however small; see `cores`. The dense net (batch 128, 2 cores) trains at
49,000 images/s, against 37,000 with `loop`.

On several GPUs it is `none` until somebody has seen `step` give equal weights and a steady use of memory
there. On GPUs of compute capability 10.0 and above (Blackwell) it is `none` on one too: XLA in TensorFlow
2.21 is reported to abort the process there (tensorflow#111958, tensorflow#89272).
"""

from typing import Any

import tensorflow as tf

from vaeflow import validation
from vaeflow.devices import memory
from vaeflow.errors import ConfigurationError

MODES = ("auto", "none", "step", "loop")

# The first compute capability for which TensorFlow 2.21 has no working XLA.
_WITHOUT_XLA = (10, 0)


def resolve_residency(resident_data: bool | str, split: Any, num_replicas: int = 1) -> bool:
    """Decides whether a split is held on the devices.

    Args:
      resident_data: True, False or `"auto"`, which holds what there is room for; see `room_for_data`.
      split: a `Split`.
      num_replicas: the number of replicas in this process.

    Raises:
      ConfigurationError: it is True for a split that is not held in memory.
      ValueError: it is something else.
    """
    if resident_data == "auto":
        return split.array is not None and split.array.nbytes <= memory.room_for_data(num_replicas)
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
      ConfigurationError: XLA cannot compile a loop over several replicas, nor over streamed data.
      ValueError: `mode` is not one of `MODES`.
    """
    validation.one_of("train.compile_mode", mode, MODES)
    if num_replicas > 1 and mode == "loop":
        raise ConfigurationError(
            "`train.compile_mode` 'loop' works on one replica only, since XLA compiles for one device; "
            f"there are {num_replicas}; set it to 'step', 'none' or 'auto'"
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
    gpus = tf.config.get_visible_devices("GPU")
    if num_replicas > 1 or not gpus or any(_capability(gpu) >= _WITHOUT_XLA for gpu in gpus):
        return "none"
    return "loop" if resident else "step"


def _capability(gpu: Any) -> tuple[int, int]:
    """Returns the compute capability of a GPU; 0.0 where TensorFlow does not know it, as of AMD's."""
    return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
