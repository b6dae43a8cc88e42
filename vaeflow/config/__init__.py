"""The configuration of a run: gin files, read and checked before gin executes them.

    configuration = config.load("train", ["configs/vae.gin"], ["train.num_steps = 10"])
    config.call("train", workdir="runs/vae")

trains with it.
"""

from vaeflow.config.loading import (
    Configuration,
    call,
    explain,
    load,
    load_trained,
    operative_parameters,
    operative_text,
    plugins_in_force,
    read,
    text_in_force,
    text_of,
    values_checked,
    values_of,
)
from vaeflow.config.plain_values import flattened
from vaeflow.config.syntax import Macro, Reference, format_value

__all__ = [
    "Configuration",
    "Macro",
    "Reference",
    "call",
    "explain",
    "flattened",
    "format_value",
    "load",
    "load_trained",
    "operative_parameters",
    "operative_text",
    "plugins_in_force",
    "read",
    "text_in_force",
    "text_of",
    "values_checked",
    "values_of",
]
