"""Draws from a trained model: new images, reconstructions, interpolations and traversals.

    vaeflow sample --workdir=runs/vae
    vaeflow sample --workdir=runs/vae --gin_param='sample.traverse_from = "prior"'
    vaeflow sample --workdir=runs/vae --gin_param='sample.samplers = [@PriorSampler()]'
    vaeflow sample --workdir=runs/code_prior --tokenizer=runs/vq_vae

Pictures, animations and the arrays behind them go to <workdir>/samples/.
"""

from absl import flags as absl_flags
from absl.flags import FlagValues

from vaeflow.commands import command_line, shared_flags


def run(flags: FlagValues) -> None:
    """Restores the model and draws from it."""
    workdir = command_line.load_trained("sample", flags)
    command_line.call(
        "sample", flags, workdir=workdir, checkpoint=flags.checkpoint, tokenizer=flags.tokenizer
    )


def define_flags(values: FlagValues) -> None:
    """Adds `--tokenizer`."""
    absl_flags.DEFINE_string(
        "tokenizer",
        None,
        "The work folder of the tokenizer that decodes the codes of a model of codes; default: the one "
        "where they were encoded.",
        flag_values=values,
    )


COMMAND = command_line.Command("sample", __doc__, run, shared_flags.TRAINED, define_flags)
