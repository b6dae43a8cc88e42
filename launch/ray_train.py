"""Trains with several workers that Ray places, on its cluster or on this machine.

    python -m launch.ray_train --num_workers=2 -- --gin_file=configs/vae.gin
    python -m launch.ray_train --address=auto --num_workers=8 --gpus_per_worker=1 -- \\
        --gin_file=configs/conv_vae.gin --workdir=/shared/runs/conv_vae

What follows `--` are the flags of launch.train. All machines share the current folder and
the work folder. When a worker fails, Ray starts all of them again, and they go on from the
last checkpoint. Ctrl-C saves the state. What the workers measure comes to stdout, a line of
JSON every few seconds. Needs `pip install 'vaeflow[ray]'`.
"""

import functools
import os
import sys

from absl import flags

from launch import train
from vaeflow import config
from vaeflow.commands import command_line
from vaeflow.errors import RunError


def define_flags():
    """Defines the flags of this command; returns an `absl.flags.FlagValues`."""
    values = flags.FlagValues()
    flags.DEFINE_integer("num_workers", 2, "How many workers.", 1, flag_values=values)
    flags.DEFINE_integer("gpus_per_worker", 0, "GPUs of each; with 0 it uses the CPU.", 0, flag_values=values)
    flags.DEFINE_integer("max_failures", 3, "How often all are started again.", 0, flag_values=values)
    flags.DEFINE_string("address", "local", "host:port or auto; local starts Ray here.", flag_values=values)
    return values


def train_in_worker(arguments, watchers):
    """Trains as launch.train does with these flags; returns the exit code, and why it is not 0."""
    (values := command_line.define_flags(*command_line.TRAIN_FLAGS))(arguments)
    try:
        train.run(values, watchers)
    except RunError as error:
        return error.exit_code, config.explain(error)
    return 0, None


def run(values, arguments, train_values):
    """Checks the configuration here, before others come to it, and trains; returns the exit code."""
    command_line.load("train", train_values)
    config.values_of("train")
    if values.address == "local":
        # Read when Ray is imported: it then listens to this machine alone, and to this user.
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
    from vaeflow.clusters.ray import RayCluster

    cluster = RayCluster(train_in_worker, **values.flag_values_dict())
    return cluster.run(arguments, command_line.workdir(train_values))


def main(argv):
    """Runs the workers; returns the exit code of the job."""
    end = argv.index("--") if "--" in argv else len(argv)
    arguments = [argv[0], *argv[end + 1 :]]
    train_flags = command_line.define_flags(*command_line.TRAIN_FLAGS)

    def parse_the_rest(values):
        start = functools.partial(run, values, arguments)
        return command_line.main(start, train.__doc__, train_flags, argv=arguments)

    return command_line.main(parse_the_rest, __doc__, define_flags(), argv=argv[:end])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
