"""Encodes a whole data set to codes or latents, for models that are trained on these.

python -m launch.encode --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("encode", prefix="python -m launch.")
