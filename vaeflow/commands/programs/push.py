"""Publishes a trained model on the Hugging Face Hub, with a model card.

    vaeflow push --workdir=runs/vae --repo=somebody/vae-mnist --create --license=apache-2.0
    vaeflow push --workdir=runs/vae --repo=somebody/vae-mnist --message='With 20 latents'

Run `vaeflow export` first. One commit holds the export, the checkpoint that it was made of, the
configuration, the log of metrics and the records that load, evaluate and verify it, the model card,
and vaeflow.json with the SHA-256 of each file. It replaces what an earlier push has put there. All
else of the work folder stays here, and absolute paths are shortened to their last part. Log in with
`hf auth login`, or set HF_TOKEN. HF_ENDPOINT names another hub.
"""

from absl import flags

from vaeflow.commands import command_line
from vaeflow.errors import ConfigurationError


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags of this command."""
    flags.DEFINE_string("workdir", None, "The work folder of a run that was exported.", flag_values=values)
    flags.DEFINE_string("repo", None, "The repository: owner/name.", flag_values=values)
    flags.DEFINE_string("revision", None, "The branch; default: main.", flag_values=values)
    flags.DEFINE_bool(
        "create", False, "Make the repository, and the branch, if they do not exist.", flag_values=values
    )
    flags.DEFINE_bool(
        "private", False, "Only its owner may see the new repository; with --create.", flag_values=values
    )
    flags.DEFINE_string(
        "message",
        None,
        "The first line of the commit; default: one that names model and step.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "license",
        None,
        "The licence of the model as the hub names it, e.g. apache-2.0; default: what export/README.md says.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Publishes the model."""
    from vaeflow.commands.push import push

    if not values.workdir or not values.repo:
        raise ConfigurationError("give --workdir=<the folder of a run> and --repo=<owner/name>")
    push(
        values.workdir,
        values.repo,
        values.revision,
        values.create,
        values.private,
        values.message,
        values.license,
    )


COMMAND = command_line.Command("push", __doc__, run, define_flags=define_flags)
