"""The nets of the workloads in numbers: what the gin files beside say, for programs that know no gin.

Imports the standard library only: the peers' environment has no vaeflow. That both say the same is
checked twice, by a test and by the runner, which compares the numbers of trainable parameters.
"""

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Workload:
    """One net on one array of images.

    Attributes:
      kind: `"dense"`, `"conv"` or `"resnet"`.
      array: the name of the images, of `benchmarks.sprites.ARRAYS`.
      image_shape: (side, channels).
      batch_size: images per step.
      steps_per_call: how many steps one call trains, in programs that compile a loop.
      num_latents: the number of latent dimensions.
      learning_rate: of Adam.
      units: widths of the dense layers, before the latents and after them.
      filters: of the encoder's convolutions; the decoder's are the same in reverse.
      kernel_sizes: of the encoder's convolutions; the decoder's are all 4.
      discriminator_units: of a FactorVAE's discriminator; no discriminator where empty.
      times_best: the target, how many times as fast as the best peer vaeflow is to be.
      first_step_seconds: the target for vaeflow's first step, from its start, or None.
      on_replicas: whether two replicas are measured in addition to one.
    """

    kind: str
    array: str
    image_shape: tuple
    batch_size: int
    steps_per_call: int
    num_latents: int
    learning_rate: float
    units: tuple
    filters: tuple = ()
    kernel_sizes: tuple = ()
    discriminator_units: tuple = ()
    times_best: float = 1.4
    first_step_seconds: float | None = None
    on_replicas: bool = False


_DENSE = Workload("dense", "sprites_28", (28, 1), 128, 100, 20, 1e-3, (400,))
_CONV28 = Workload("conv", "sprites_28", (28, 1), 128, 20, 20, 1e-3, (256,), (32, 64), (4, 4))
_CONV64 = Workload("conv", "sprites_64", (64, 1), 64, 20, 10, 5e-4, (256, 256), (32,) * 4, (4,) * 4)
_RESNET = Workload("resnet", "sprites_64_rgb", (64, 3), 64, 2, 64, 5e-4, (256,), (32, 64, 128, 128))
_FACTOR = Workload("conv", "sprites_64", (64, 1), 64, 5, 10, 1e-4, (256,), (32, 32, 64, 64), (4, 4, 2, 2))

WORKLOADS = {
    "dense_128": _DENSE,
    "dense_512": dataclasses.replace(_DENSE, batch_size=512, steps_per_call=25),
    "conv28_128": _CONV28,
    "conv64_64": dataclasses.replace(_CONV64, on_replicas=True),
    "conv64_256": dataclasses.replace(_CONV64, batch_size=256, steps_per_call=5),
    "resnet64_64": dataclasses.replace(_RESNET, times_best=1.2, first_step_seconds=8.0),
    "factor64_64": dataclasses.replace(_FACTOR, discriminator_units=(1000,) * 6),
}


def gin_file(name):
    """Returns the path of a workload's gin file."""
    return pathlib.Path(__file__).with_name(f"{name}.gin")
