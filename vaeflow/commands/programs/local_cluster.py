"""Trains with several workers on this machine, to rehearse a run on several machines.

    vaeflow local-cluster --num_workers=2 -- --gin_file=vae.gin

The flags after `--` are those of `vaeflow train`, the same for all workers. When a worker
fails, all are stopped and restarted, and resume from the last checkpoint. Ctrl-C saves
the state.
"""

from absl import flags

from vaeflow.clusters.local import LocalCluster
from vaeflow.commands import command_line
from vaeflow.runs import interpreter


def define_flags(values: flags.FlagValues) -> None:
    """Adds the flags of this command."""
    flags.DEFINE_integer("num_workers", 2, "How many workers.", lower_bound=2, flag_values=values)
    flags.DEFINE_integer(
        "max_restarts",
        3,
        "How often all workers are restarted after one fails.",
        lower_bound=0,
        flag_values=values,
    )


def run(values: flags.FlagValues, train_flags: list[str]) -> int:
    """Runs the workers; returns the exit code of the job."""
    train = interpreter.command("vaeflow", "train", *train_flags)
    return LocalCluster(train, values.num_workers, values.max_restarts).run()


COMMAND = command_line.Command("local-cluster", __doc__, run, define_flags=define_flags, passes_flags_on=True)
