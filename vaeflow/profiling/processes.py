"""Starts the processes that measure, one after the other, and tells why one failed."""

import dataclasses
import os
import re

from vaeflow.devices import allocator
from vaeflow.errors import RunError
from vaeflow.runs import asking


@dataclasses.dataclass(frozen=True)
class Measurer:
    """Measures cases of one configuration.

    Attributes:
      configuration: the path of a gin file that holds all of it.
      plugins: modules that the configuration needs.
      seconds: how long each case is measured, after a warm-up.
      virtual: whether devices are made by splitting, also where there are GPUs.
    """

    configuration: str
    plugins: tuple
    seconds: float
    virtual: bool = False

    def measure(self, case, arithmetic=False, trace=None):
        """Measures a case in a fresh process.

        Args:
          case: a `Case`.
          arithmetic: whether operations are counted, and the device's rate measured.
          trace: the folder for a trace of a few steps, or None.

        Returns:
          A dict, see `process.measure`.

        Raises:
          RunError: the process ended with its exit code, and this message.
        """
        request = dataclasses.asdict(self) | {
            "settings": dict(case.settings),
            "devices": case.devices,
            "arithmetic": arithmetic,
            "trace": trace,
        }
        try:
            return asking.ask(
                "vaeflow.profiling.process", request, "a measuring process", allocator.tuned(os.environ)
            )
        except RunError as error:
            # The user's own files have other lines.
            message = re.sub(rf"{re.escape(self.configuration)}:\d+: ", "", str(error))
            raise type(error)(message) from error
