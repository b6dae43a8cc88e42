"""Publishes a trained model on the Hugging Face Hub, with a model card.

python -m launch.push --help
"""

from vaeflow.commands import entry

if __name__ == "__main__":
    entry.start("push", prefix="python -m launch.")
