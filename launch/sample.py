"""Draws from a trained model: new images, reconstructions, interpolations and traversals.

python -m launch.sample --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("sample", prefix="python -m launch.")
