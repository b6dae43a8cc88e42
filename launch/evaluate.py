"""Evaluates a trained model on held-out images.

python -m launch.evaluate --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("evaluate", prefix="python -m launch.")
