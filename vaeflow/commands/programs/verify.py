"""Verifies that a run is what its work folder says.

    vaeflow verify --workdir=runs/vae
    vaeflow verify --workdir=runs/vae --checkpoint=last --gin_param='verify.float64 = False'

From the start and from each kept checkpoint it repeats the steps to the next line of the log: as they were
run, on another number of replicas, and in float64, and compares the values with the log. It compares
checkpoints, log, result, data, code and versions with what the run recorded, and runs
`vaeflow evaluate` again for each evaluation.json. It prints each check, writes verification.json and
verification.md to the work folder, and changes nothing else there.

It exits with 0 if nothing differs, and with 5 if something does. What could not be verified is named.

Cost: each of these intervals is trained three times (as it was run, on other replicas, and in float64,
which is slower), and each evaluation is repeated. --checkpoint=last, verify.replicas,
verify.float64 and verify.evaluations leave parts of it out.
"""

from absl import flags as absl_flags
from absl.flags import FlagValues

from vaeflow.commands import command_line
from vaeflow.errors import DIFFERENT

_FLAGS = ("verified_workdir", "gin_file", "gin_param", "gin_bindings", "plugin")


def define_flags(values: FlagValues) -> None:
    """Adds the flags of this command."""
    absl_flags.DEFINE_string(
        "checkpoint",
        "all",
        "From which checkpoints steps are repeated: all (and the start), last (the newest, and the newest "
        "that a line of the log follows), or a step; 0 is the start.",
        flag_values=values,
    )
    absl_flags.DEFINE_string(
        "results", None, "The folder of the report; default: the work folder.", flag_values=values
    )
    absl_flags.DEFINE_bool(
        "other_versions",
        False,
        "Say where the code or a version is another than that of the run, without counting it as a "
        "difference.",
        flag_values=values,
    )


def run(flags: FlagValues) -> int:
    """Verifies the run; returns the exit code."""
    from vaeflow.commands.verification.evaluations import (
        Given,
    )  # Imports TensorFlow, which `--help` must not.

    workdir = command_line.load_trained("verify", flags)
    found = command_line.call(
        "verify",
        flags,
        workdir=workdir,
        checkpoint=flags.checkpoint,
        results=flags.results,
        other_versions=flags.other_versions,
        given=Given(flags.gin_file, flags.gin_param, flags.plugin),
    )
    return DIFFERENT if found["verdict"] == "differs" else 0


COMMAND = command_line.Command("verify", __doc__, run, _FLAGS, define_flags)
