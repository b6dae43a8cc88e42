"""Records a finished run in one small file, to be published with what it measured.

    vaeflow record --workdir=runs/vae
    vaeflow record --workdir=runs/vae --name=vae_mnist --results=results

Writes results/<name>.json: command, seed, revision, machine, versions, time, metrics, the
evaluation if `vaeflow evaluate` has run, digest of the weights, and the configuration.
Absolute paths are shortened to their last part.
"""

from absl import flags

from vaeflow.commands import command_line
from vaeflow.errors import ConfigurationError
from vaeflow.runs import record
from vaeflow.runs.escaping import printable


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags of this command."""
    flags.DEFINE_string("workdir", None, "The work folder of a finished run.", flag_values=values)
    flags.DEFINE_string("results", "results", "The folder to write to.", flag_values=values)
    flags.DEFINE_string(
        "name",
        None,
        "The name of the file without .json; default: the name of the work folder.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Writes the record."""
    if not values.workdir:
        raise ConfigurationError("give --workdir=<the folder of a finished run>, e.g. --workdir=runs/vae")
    print(printable(f"written to {record.write(values.workdir, values.results, values.name)}"))


COMMAND = command_line.Command("record", __doc__, run, define_flags=define_flags)
