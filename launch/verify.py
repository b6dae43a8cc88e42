"""Verifies that a run is what its work folder says.

python -m launch.verify --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("verify", prefix="python -m launch.")
