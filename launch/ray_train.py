"""Trains with several workers that Ray places, on its cluster or on this machine.

python -m launch.ray_train --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("ray-train", prefix="python -m launch.")
