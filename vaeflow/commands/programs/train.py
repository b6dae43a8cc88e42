"""Trains a model, or resumes a run that was stopped.

    vaeflow train --gin_file=conv_vae.gin
    vaeflow train --gin_file=vae.gin --gin_param='MNIST.folder = "mnist"'

The files of the run (checkpoints, metrics, pictures, TensorBoard) go to runs/<name of the
gin file>. Stop the run with Ctrl-C; the same command resumes it, and so does
`vaeflow train --workdir=<the folder>` alone.
"""

from collections.abc import Sequence

from absl.flags import FlagValues

from vaeflow.commands import command_line, shared_flags


def run(flags: FlagValues, extra_callbacks: Sequence = ()) -> None:
    """Loads the configuration and trains, with extra callbacks added by a launcher."""
    workdir = command_line.workdir(flags)
    command_line.load("train", flags)
    command_line.call(
        "train",
        flags,
        workdir=workdir,
        allow_config_change=flags.allow_config_change,
        extra_callbacks=extra_callbacks,
    )


COMMAND = command_line.Command("train", __doc__, run, shared_flags.TRAINING)
