"""Fetches a model that `vaeflow push` has published, as a work folder.

    vaeflow pull --repo=somebody/vae-mnist --to=runs/theirs
    vaeflow pull --repo=somebody/vae-mnist --revision=v2 --to=runs/theirs

The folder is written whole or not at all, and only if each file has the SHA-256 that vaeflow.json
names. Other files of the repository are not fetched, and none of its code is run. Then
`vaeflow evaluate` and the other commands take the folder as --workdir. Files stay in the cache of
huggingface_hub, from which HF_HUB_OFFLINE=1 fetches them without the network.
"""

from absl import flags

from vaeflow.commands import command_line
from vaeflow.errors import ConfigurationError


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags of this command."""
    flags.DEFINE_string("repo", None, "The repository: owner/name.", flag_values=values)
    flags.DEFINE_string(
        "revision", None, "A branch, a tag or a commit; default: the branch main.", flag_values=values
    )
    flags.DEFINE_string("to", None, "The new work folder.", flag_values=values)


def run(values: flags.FlagValues) -> None:
    """Fetches the model."""
    from vaeflow.commands.pull import pull

    if not values.repo or not values.to:
        raise ConfigurationError("give --repo=<owner/name> and --to=<a new folder>")
    pull(values.repo, values.to, values.revision)


COMMAND = command_line.Command("pull", __doc__, run, define_flags=define_flags)
