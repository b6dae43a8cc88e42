"""Trains with several workers on this machine, to rehearse a run on several machines.

    python -m launch.local_cluster --num_workers=2 -- --gin_file=configs/vae.gin

What follows `--` are the flags of launch.train, the same for all workers. When a worker
fails, all are stopped and started again, and go on from the last checkpoint. Ctrl-C saves
the state.
"""

import sys

from absl import flags

from vaeflow.clusters.local import LocalCluster
from vaeflow.commands import command_line


def define_flags():
    """Defines the flags of this command; returns an `absl.flags.FlagValues`."""
    values = flags.FlagValues()
    flags.DEFINE_integer("num_workers", 2, "How many workers.", lower_bound=2, flag_values=values)
    flags.DEFINE_integer(
        "max_restarts",
        3,
        "How often the workers are started again after one failed.",
        lower_bound=0,
        flag_values=values,
    )
    return values


def main(argv):
    """Runs the workers; returns the exit code of the job."""
    end = argv.index("--") if "--" in argv else len(argv)
    train = [sys.executable, "-m", "launch.train", *argv[end + 1 :]]

    def run(values):
        return LocalCluster(train, values.num_workers, values.max_restarts).run()

    return command_line.main(run, __doc__, define_flags(), argv=argv[:end])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
