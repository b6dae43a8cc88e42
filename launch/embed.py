"""Encodes a dataset with a trained model: the latents of every image.

    python -m launch.embed --workdir=runs/vae
    python -m launch.embed --workdir=runs/vae --gin_param='embed.split = "train"'

Writes <workdir>/embeddings/evaluation.npz and .csv, and sets up the projector of
TensorBoard, which shows the images as points in the space of their latents.
"""

import sys

from vaeflow.commands import command_line
from vaeflow.devices import allocator


def run(flags):
    """Restores the model and encodes the images."""
    workdir = command_line.load_trained("embed", flags)
    command_line.call("embed", flags, workdir=workdir, checkpoint=flags.checkpoint)


if __name__ == "__main__":
    allocator.restart_tuned()
    sys.exit(command_line.main(run, __doc__, command_line.define_flags(*command_line.TRAINED_FLAGS)))
