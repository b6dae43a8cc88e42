"""Lists what a gin file can name: models, layers, datasets and the rest, with their parameters.

python -m launch.list --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("list", prefix="python -m launch.")
