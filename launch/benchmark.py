"""Measures how fast a run would train on this machine; keeps no trained weights.

python -m launch.benchmark --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("benchmark", prefix="python -m launch.")
