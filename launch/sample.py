"""Draws from a trained model: new images, reconstructions, interpolations and traversals.

    python -m launch.sample --workdir=runs/vae
    python -m launch.sample --workdir=runs/vae --gin_param='sample.traverse_from = "prior"'
    python -m launch.sample --workdir=runs/vae --gin_param='sample.samplers = [@PriorSampler()]'

Pictures, animations and the arrays behind them go to <workdir>/samples/.
"""

import sys

from vaeflow.commands import command_line
from vaeflow.devices import allocator


def run(flags):
    """Restores the model and draws from it."""
    workdir = command_line.load_trained("sample", flags)
    command_line.call("sample", flags, workdir=workdir, checkpoint=flags.checkpoint)


if __name__ == "__main__":
    allocator.restart_tuned()
    sys.exit(command_line.main(run, __doc__, command_line.define_flags(*command_line.TRAINED_FLAGS)))
