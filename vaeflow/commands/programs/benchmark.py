"""Measures how fast a run would train on this machine; keeps no trained weights.

    vaeflow benchmark --gin_file=conv_vae.gin
    vaeflow benchmark --gin_file=vae.gin --virtual_devices=4
    vaeflow benchmark --gin_file=my.gin --gin_param='benchmark.rounds = 5'

Prints images/s, where the time of a step goes, memory and arithmetic of the run as
configured, and compares compile modes, steps per loop and numbers of replicas. Writes
benchmark.json and benchmark.png to runs/benchmark-<name of the gin file>, and with
--gin_param='benchmark.trace = True' also a trace for TensorBoard's profiler.
"""

from absl.flags import FlagValues

from vaeflow import config
from vaeflow.commands import command_line

_FLAGS = ("gin_file", "gin_param", "gin_bindings", "plugin", "benchmark_workdir", "virtual_devices")


def run(flags: FlagValues) -> None:
    """Checks the configuration as training does, and measures it."""
    workdir = command_line.workdir(flags, prefix="benchmark-")
    command_line.load("train", flags)
    config.call("benchmark", workdir=workdir, plugins=flags.plugin, virtual_devices=flags.virtual_devices)


COMMAND = command_line.Command("benchmark", __doc__, run, _FLAGS)
