"""Draws from a trained model: new images, reconstructions, interpolations and traversals.

    vaeflow sample --workdir=runs/vae
    vaeflow sample --workdir=runs/vae --gin_param='sample.traverse_from = "prior"'
    vaeflow sample --workdir=runs/vae --gin_param='sample.samplers = [@PriorSampler()]'
    vaeflow sample --workdir=runs/code_prior --tokenizer=runs/vq_vae

Pictures, animations and the arrays behind them go to <workdir>/samples/.
"""

from absl.flags import FlagValues

from vaeflow.commands import command_line, shared_flags


def run(flags: FlagValues) -> None:
    """Restores the model and draws from it."""
    workdir = command_line.load_trained("sample", flags)
    command_line.call(
        "sample", flags, workdir=workdir, checkpoint=flags.checkpoint, tokenizer=flags.tokenizer
    )


COMMAND = command_line.Command("sample", __doc__, run, (*shared_flags.TRAINED, "tokenizer"))
