"""Exports a trained model for other programs, with a model card.

python -m launch.export --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("export", prefix="python -m launch.")
