"""Exports a trained model for other programs, with a model card.

    vaeflow export --workdir=runs/vae
    vaeflow export --workdir=runs/vae --gin_param='export.formats = ("saved_model", "onnx")'

Writes export/ in the work folder: saved_model/ (encode, decode, reconstruct and sample, and of
a model of codes encode_codes and decode_codes, which need TensorFlow only), model.keras,
model.tflite and onnx/ if asked for, and README.md, which shows how to load them. Each is loaded
again and compared with the model.
"""

from absl.flags import FlagValues

from vaeflow.commands import command_line, shared_flags


def run(flags: FlagValues) -> None:
    """Restores the model and exports it."""
    workdir = command_line.load_trained("export", flags)
    command_line.call("export", flags, workdir=workdir, checkpoint=flags.checkpoint, encoded=flags.encoded)


COMMAND = command_line.Command("export", __doc__, run, (*shared_flags.TRAINED, "encoded"))
