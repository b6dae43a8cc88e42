"""Evaluates a trained model on held-out images.

    python -m launch.evaluate --workdir=runs/vae
    python -m launch.evaluate --workdir=runs/vae --gin_param='evaluate.num_samples = (1, 50, 5000)'

Prints a table and writes it to evaluation.json in the work folder and to TensorBoard:
negative ELBO and its terms, KL of each latent, active units, mutual information, negative
log-likelihood by importance sampling, bits per dimension, errors of the reconstructions.
"""

import sys

from vaeflow.commands import command_line
from vaeflow.devices import allocator


def run(flags):
    """Restores the model and evaluates it."""
    workdir = command_line.load_trained("evaluate", flags)
    command_line.call("evaluate", flags, workdir=workdir, checkpoint=flags.checkpoint)


if __name__ == "__main__":
    allocator.restart_tuned()
    sys.exit(command_line.main(run, __doc__, command_line.define_flags(*command_line.TRAINED_FLAGS)))
