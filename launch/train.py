"""Trains a model, or resumes a run that was stopped.

    python -m launch.train --gin_file=configs/conv_vae.gin
    python -m launch.train --gin_file=configs/vae.gin --gin_param='MNIST.folder = "mnist"'

The run's files (checkpoints, metrics, pictures, TensorBoard) go to runs/<name of the
gin file>. Stop it with Ctrl-C; the same command goes on where it stopped.
"""

import sys

from vaeflow import allocator, command_line, config


def run(flags):
    """Loads the configuration and trains."""
    workdir = command_line.workdir(flags)
    allocator.tune()
    command_line.load("train", flags)
    if flags.virtual_devices:
        from vaeflow import distribute

        distribute.split_devices(flags.virtual_devices)
    config.call("train", workdir=workdir, allow_config_change=flags.allow_config_change)


if __name__ == "__main__":
    sys.exit(command_line.main(run, __doc__))
