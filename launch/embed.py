"""Encodes a dataset with a trained model: the latents of every image.

python -m launch.embed --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("embed", prefix="python -m launch.")
