"""Trains a model, or resumes a run that was stopped.

    python -m launch.train --gin_file=configs/conv_vae.gin
    python -m launch.train --gin_file=configs/vae.gin --gin_param='MNIST.folder = "mnist"'

The run's files (checkpoints, metrics, pictures, TensorBoard) go to runs/<name of the
gin file>. Stop it with Ctrl-C; the same command goes on where it stopped.
"""

from vaeflow.commands import command_line
from vaeflow.devices import allocator


def run(flags, watchers=()):
    """Loads the configuration and trains, with further callbacks that watch."""
    workdir = command_line.workdir(flags)
    command_line.load("train", flags)
    change = flags.allow_config_change
    command_line.call("train", flags, workdir=workdir, allow_config_change=change, watchers=watchers)


if __name__ == "__main__":
    allocator.restart_tuned()
    command_line.run_and_exit(run, __doc__, command_line.define_flags(*command_line.TRAIN_FLAGS))
