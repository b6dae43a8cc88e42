"""Exports a trained model for other programs, with a model card.

    python -m launch.export --workdir=runs/vae
    python -m launch.export --workdir=runs/vae --gin_param='export.formats = ("saved_model", "onnx")'

Writes export/ in the work folder: saved_model/ (encode, decode, reconstruct and sample,
which need TensorFlow only), model.keras, and where asked for model.tflite and onnx/; and
README.md, which shows how to load them. Each is loaded again and compared with the model.
"""

import sys

from vaeflow.commands import command_line
from vaeflow.devices import allocator


def run(flags):
    """Restores the model and exports it."""
    workdir = command_line.load_trained("export", flags)
    command_line.call("export", flags, workdir=workdir, checkpoint=flags.checkpoint)


if __name__ == "__main__":
    allocator.restart_tuned()
    sys.exit(command_line.main(run, __doc__, command_line.define_flags(*command_line.TRAINED_FLAGS)))
