"""Evaluates a trained model on held-out images.

    vaeflow evaluate --workdir=runs/vae
    vaeflow evaluate --workdir=runs/vae --gin_param='evaluate.num_samples = (1, 50, 5000)'
    vaeflow evaluate --workdir=runs/sprites --gin_param='evaluate.scores = [@MIG(), @SAP()]'

Prints a table and writes it to evaluation.json in the work folder and to TensorBoard:
negative ELBO and its terms, KL of each latent, active units, mutual information, negative
log-likelihood by importance sampling, bits per dimension, errors of the reconstructions, and how
many codes are in use; with `evaluate.metrics` also distances of features, such as FID, and with
`evaluate.scores` disentanglement scores. `vaeflow list metric` lists the former, and
`vaeflow list score` the latter.
"""

from absl.flags import FlagValues

from vaeflow.commands import command_line, shared_flags


def run(flags: FlagValues) -> None:
    """Restores the model and evaluates it."""
    workdir = command_line.load_trained("evaluate", flags)
    command_line.call(
        "evaluate", flags, workdir=workdir, checkpoint=flags.checkpoint, tokenizer=flags.tokenizer
    )


COMMAND = command_line.Command("evaluate", __doc__, run, (*shared_flags.TRAINED, "tokenizer"))
