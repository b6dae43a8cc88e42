"""Lists what a gin file can name: models, layers, datasets and the rest, with their parameters.

    python -m launch.list
    python -m launch.list model
    python -m launch.list layer --plugin=my_package.blocks

Without a kind it lists all of them.
"""

import sys

from vaeflow import registry
from vaeflow.commands import command_line, listing


def run(flags, kind=None):
    """Prints the registered names of one kind, or of all."""
    if kind is not None:
        registry.entries(kind)  # A misspelt kind is told at once, not after TensorFlow's import.
    registry.load_builtins()
    for module in [*flags.plugin, *registry.announced_plugins()]:
        registry.load_plugin(module)
    print(listing.describe(registry.entries(kind)))


if __name__ == "__main__":
    sys.exit(command_line.main(run, __doc__, command_line.define_flags("plugin"), arguments=("kind",)))
