"""Trains every point of a grid of settings with several seeds, and compares the runs.

python -m launch.study --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("study", prefix="python -m launch.")
