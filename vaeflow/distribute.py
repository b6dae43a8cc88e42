"""The old name of `vaeflow.devices.replicas.gather`."""

import warnings

from vaeflow.devices import replicas


def __getattr__(name: str):
    if name == "gather":
        warnings.warn(
            f"vaeflow.distribute.{name} has moved; import it from vaeflow.devices.replicas",
            FutureWarning,
            stacklevel=2,
        )
        return getattr(replicas, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
