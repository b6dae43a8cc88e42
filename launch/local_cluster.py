"""Trains with several workers on this machine, to rehearse a run on several machines.

python -m launch.local_cluster --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("local-cluster", prefix="python -m launch.")
