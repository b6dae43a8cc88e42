"""The learning rates of a training: one for each optimizer."""

from collections.abc import Mapping

import keras
import numpy as np

from vaeflow import optimizers


class LearningRates:
    """The learning rates, by name: `learning_rate`, and for a parameter group `<its name>_learning_rate`.

    Args:
      by_group: name of a parameter group, None for the model's own -> its optimizer.
    """

    def __init__(self, by_group: Mapping[str | None, keras.optimizers.Optimizer]):
        self._optimizers = {
            "learning_rate" if group is None else f"{group}_learning_rate": optimizer
            for group, optimizer in by_group.items()
        }
        scheduled = self.scheduled()
        self._configured = {name: rate for name, rate in self.current().items() if name not in scheduled}

    def current(self) -> dict[str, float]:
        """Returns the rates of the next step."""
        return {name: _as_float(optimizer.learning_rate) for name, optimizer in self._optimizers.items()}

    def scheduled(self) -> list[str]:
        """Names the rates that schedules decide on."""
        return [name for name, optimizer in self._optimizers.items() if optimizers.is_scheduled(optimizer)]

    def set(self, rates: Mapping[str, float]) -> None:
        """Sets some of the rates that no schedule decides on, name -> rate."""
        for name, rate in rates.items():
            self._optimizers[name].learning_rate = rate

    def reset(self) -> None:
        """Sets all to what they were when this was made, as the configuration says."""
        self.set(self._configured)


def _as_float(value) -> float:
    return float(np.asarray(keras.ops.convert_to_numpy(value)))
