"""Trains every point of a grid of settings with several seeds, and compares the runs.

    vaeflow study --gin_file=beta_study.gin
    vaeflow study --gin_file=my_study.gin --workdir=runs/my_study
    vaeflow study --gin_file=my_study.gin --table

The gin file holds the configuration of a training and the settings of the study, such as

    study.grid = {"BetaVAE.beta": (1, 4, 16)}
    study.seeds = 3
    study.after = ("evaluate",)

Each run is trained by `vaeflow train` in a work folder of its own, below the study's folder.
Stop the study with Ctrl-C; the same command goes on, and does not run again what is done.
In a Slurm job array, each task runs its part. `vaeflow list study` describes the settings.
"""

import os

from absl import flags

from vaeflow import config
from vaeflow.commands import command_line
from vaeflow.commands.studies.configurations import Source
from vaeflow.devices import slurm_array
from vaeflow.errors import ConfigurationError

_STUDY = "study"


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags of this command."""
    flags.DEFINE_string(
        "part",
        None,
        "INDEX/COUNT: run only this one of so many parts, from 0, beside the others; default: that of the "
        "task of Slurm's job array, else all runs.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "retry",
        False,
        "Run again what failed for good before, with code 2, 3 or 5.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "table",
        False,
        "Run nothing; write the table of what the runs so far have measured.",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> int:
    """Checks the study and runs what is left of it."""
    if not values.gin_file:
        raise ConfigurationError("give --gin_file=<the gin file of a study>, e.g. --gin_file=beta_study.gin")
    workdir = command_line.workdir(values)
    part = slurm_array.parse_part(values.part) if values.part else slurm_array.find_part(os.environ)
    configuration = config.load(_STUDY, values.gin_file, values.gin_param, values.plugin)
    plans = {each.label: each.value for each in configuration.bindings}
    return config.call(
        _STUDY,
        workdir,
        plans.get("study.grid"),
        plans.get("study.space"),
        source=Source(tuple(values.gin_file), tuple(values.gin_param), tuple(values.plugin)),
        macros={each.label: each.value for each in configuration.bindings if each.is_macro},
        part=part,
        retry=values.retry,
        table_only=values.table,
    )


COMMAND = command_line.Command(
    _STUDY, __doc__, run, ("gin_file", "gin_param", "gin_bindings", "plugin", "study_workdir"), define_flags
)
