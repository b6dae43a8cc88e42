"""Trains a model, or resumes a run that was stopped.

python -m launch.train --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("train", prefix="python -m launch.")
