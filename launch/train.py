"""Trains a model, or resumes a run that was stopped.

    python -m launch.train --gin_file=configs/conv_vae.gin
    python -m launch.train --gin_file=configs/vae.gin --gin_param='MNIST.folder = "mnist"'

The run's files (checkpoints, metrics, pictures, TensorBoard) go to runs/<name of the
gin file>. Stop it with Ctrl-C; the same command goes on where it stopped.
"""

import sys

from vaeflow import allocator, command_line


def run(flags):
    """Loads the configuration and trains."""
    workdir = command_line.workdir(flags)
    allocator.tune()
    command_line.load("train", flags)
    command_line.call("train", flags, workdir=workdir, allow_config_change=flags.allow_config_change)


if __name__ == "__main__":
    sys.exit(command_line.main(run, __doc__, command_line.define_flags(*command_line.TRAIN_FLAGS)))
