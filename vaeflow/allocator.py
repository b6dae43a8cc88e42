"""The old name of `vaeflow.devices.allocator.restart_tuned`."""

import warnings

from vaeflow.devices import allocator


def __getattr__(name: str):
    if name == "restart_tuned":
        warnings.warn(
            f"vaeflow.allocator.{name} has moved; import it from vaeflow.devices.allocator",
            FutureWarning,
            stacklevel=2,
        )
        return getattr(allocator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
