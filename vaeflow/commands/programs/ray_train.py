"""Trains with several workers that Ray places, on its cluster or on this machine.

    vaeflow ray-train --num_workers=2 -- --gin_file=vae.gin
    vaeflow ray-train --address=auto --num_workers=8 --gpus_per_worker=1 -- \\
        --gin_file=conv_vae.gin --workdir=/shared/runs/conv_vae

The flags after `--` are those of `vaeflow train`. All machines share the current folder and
the work folder. When a worker fails, Ray restarts all of them, and they resume from the last
checkpoint. Ctrl-C saves the state. The metrics of the workers go to stdout, one line of JSON
every few seconds. Needs `pip install 'vaeflow[ray]'`.
"""

import os
import sys
from collections.abc import Sequence

from absl import flags

from vaeflow import config
from vaeflow.commands import command_line
from vaeflow.commands.programs import train
from vaeflow.errors import RunError
from vaeflow.runs import program


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags of this command."""
    flags.DEFINE_integer("num_workers", 2, "How many workers.", 1, flag_values=values)
    flags.DEFINE_integer("gpus_per_worker", 0, "GPUs of each worker; 0 uses the CPU.", 0, flag_values=values)
    flags.DEFINE_integer("max_failures", 3, "How often all workers are restarted.", 0, flag_values=values)
    flags.DEFINE_string("address", "local", "host:port or auto; local starts Ray here.", flag_values=values)


def train_in_worker(arguments: list[str], extra_callbacks: Sequence) -> tuple[int, str | None]:
    """Trains as `vaeflow train` would with these flags.

    Returns:
      The exit code, and the reason if it is not 0.
    """
    sys.argv = [
        "vaeflow",
        "train",
        *arguments,
    ]  # What the run's environment.json shows; Ray's own says nothing.
    with program.running(program.Program(command="train")):
        try:
            train.run(command_line.parse(train.COMMAND, arguments)[0], extra_callbacks)
        except RunError as error:
            return error.exit_code, config.explain(error)
    return 0, None


def run(values: flags.FlagValues, train_flags: list[str]) -> int:
    """Checks the configuration before the workers read it, and trains; returns the exit code."""
    if command_line.HELP_FLAGS & set(train_flags):
        print(command_line.help_text(train.COMMAND))
        return 0
    train_values, _ = command_line.parse(train.COMMAND, train_flags)
    command_line.load("train", train_values)
    config.values_of("train")
    if values.address == "local":
        # Read when Ray is imported: it then listens to this machine alone, and to this user.
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
    from vaeflow.clusters.ray import RayCluster

    cluster = RayCluster(train_in_worker, **values.flag_values_dict())
    return cluster.run(train_flags, command_line.workdir(train_values))


COMMAND = command_line.Command("ray-train", __doc__, run, define_flags=define_flags, passes_flags_on=True)
