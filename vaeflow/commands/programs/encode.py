"""Encodes a whole data set to codes or latents, for models that are trained on these.

    vaeflow encode --workdir=runs/vq_vae
    vaeflow encode --workdir=runs/vae --encoded=/data/latents
    vaeflow encode --workdir=runs/vae --gin_param='encode.file_format = "tfrecord"'

Writes shards of every split and manifest.json to encoded/ in the work folder, or to the folder
that --encoded names: codes, or the latents that `encode.latents` asks for, and the labels. A
repeated command goes on with the shards that are missing. Under Slurm, or with TF_CONFIG, each
worker writes its part of them. `vaeflow list encode` describes the settings.
"""

from absl.flags import FlagValues

from vaeflow.commands import command_line, shared_flags


def run(flags: FlagValues) -> None:
    """Restores the model and encodes the splits."""
    workdir = command_line.load_trained("encode", flags)
    command_line.call("encode", flags, workdir=workdir, checkpoint=flags.checkpoint, encoded=flags.encoded)


COMMAND = command_line.Command("encode", __doc__, run, (*shared_flags.TRAINED, "encoded"))
