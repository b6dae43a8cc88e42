"""Fetches a model that `vaeflow push` has published, as a work folder.

python -m launch.pull --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("pull", prefix="python -m launch.")
