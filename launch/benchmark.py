"""Measures how fast a run would train on this machine; keeps nothing of what it trains.

    python -m launch.benchmark --gin_file=configs/conv_vae.gin
    python -m launch.benchmark --gin_file=configs/vae.gin --virtual_devices=4
    python -m launch.benchmark --gin_file=my.gin --gin_param='benchmark.rounds = 5'

Prints images/s, where the time of a step goes, memory and arithmetic of the run as
configured, and compares compile modes, steps per loop and numbers of replicas. Writes
benchmark.json and benchmark.png to runs/benchmark-<name of the gin file>; with
--gin_param='benchmark.trace = True' also a trace for TensorBoard's profiler.
"""

import sys

from vaeflow import config
from vaeflow.commands import command_line

_FLAGS = ("gin_file", "gin_param", "gin_bindings", "plugin", "workdir", "virtual_devices")


def run(flags):
    """Checks the configuration as training does, and measures it."""
    workdir = command_line.workdir(flags, prefix="benchmark-")
    command_line.load("train", flags)
    config.call("benchmark", workdir=workdir, plugins=flags.plugin, virtual_devices=flags.virtual_devices)


if __name__ == "__main__":
    sys.exit(command_line.main(run, __doc__, command_line.define_flags(*_FLAGS)))
