"""Lists what a gin file can name: models, layers, datasets and the rest, with their parameters.

    vaeflow list
    vaeflow list model
    vaeflow list ConvVAE
    vaeflow list layer --plugin=my_package.blocks

Without an argument it lists everything; with a kind, all of that kind; with a name, what
each parameter of that class or command means.
"""

from absl.flags import FlagValues

from vaeflow import registry
from vaeflow.commands import command_line, listing
from vaeflow.errors import ConfigurationError


def run(flags: FlagValues, kind_or_name: str | None = None) -> None:
    """Prints the registered names of one kind or of all, or describes one name."""
    registry.load_builtins()
    for module in dict.fromkeys([*flags.plugin, *registry.announced_plugins()]):
        registry.load_plugin(module, named_by_user=module in flags.plugin)
    names = [entry.name for entry in registry.entries()]
    if kind_or_name is None or kind_or_name in registry.KINDS:
        print(listing.describe(registry.entries(kind_or_name)))
    elif kind_or_name in names:
        print(listing.describe_one(registry.get(kind_or_name)))
    else:
        near = registry.did_you_mean(kind_or_name, [*registry.KINDS, *names])
        raise ConfigurationError(
            f"{kind_or_name!r} is neither a kind nor a registered name{near or '.'} The kinds are "
            f"{', '.join(registry.KINDS)}; without an argument all names are listed"
        )


COMMAND = command_line.Command("list", __doc__, run, ("plugin",), arguments=("kind|name",))
