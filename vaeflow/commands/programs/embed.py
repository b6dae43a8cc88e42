"""Encodes a dataset with a trained model: the latents of every image.

    vaeflow embed --workdir=runs/vae
    vaeflow embed --workdir=runs/vae --gin_param='embed.split = "train"'

Writes <workdir>/embeddings/evaluation.npz and .csv, and sets up the projector of
TensorBoard, which shows the images as points in the space of their latents.
"""

from absl.flags import FlagValues

from vaeflow.commands import command_line, shared_flags


def run(flags: FlagValues) -> None:
    """Restores the model and encodes the images."""
    workdir = command_line.load_trained("embed", flags)
    command_line.call("embed", flags, workdir=workdir, checkpoint=flags.checkpoint)


COMMAND = command_line.Command("embed", __doc__, run, shared_flags.TRAINED)
