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
      num_latents: the number of latent dimensions.
      learning_rate: of Adam.
      units: widths of the dense layers, before the latents and after them.
      filters: of the encoder's convolutions; the decoder's are the same in reverse.
      kernel_sizes: of the encoder's convolutions; the decoder's are all 4.
      discriminator_units: of a FactorVAE's discriminator; no discriminator where empty.
      times_pythae: the target, how many times as fast as pythae vaeflow is to be.
      of_matrix_product: the target for the part of the matrix product's rate, or None.
      on_replicas: whether two replicas are measured beside one.
    """

    kind: str
    array: str
    image_shape: tuple
    batch_size: int
    num_latents: int
    learning_rate: float
    units: tuple
    filters: tuple = ()
    kernel_sizes: tuple = ()
    discriminator_units: tuple = ()
    times_pythae: float = 1.3
    of_matrix_product: float | None = None
    on_replicas: bool = False


_DENSE = Workload("dense", "sprites_28", (28, 1), 128, 20, 1e-3, units=(400,), times_pythae=2.0)
_CONV28 = Workload("conv", "sprites_28", (28, 1), 128, 20, 1e-3, (256,), (32, 64), (4, 4))
_CONV64 = Workload(
    "conv", "sprites_64", (64, 1), 64, 10, 5e-4, (256, 256), (32,) * 4, (4,) * 4, of_matrix_product=0.5
)
_RESNET = Workload("resnet", "sprites_64_rgb", (64, 3), 64, 64, 5e-4, (256,), (32, 64, 128, 128))
_FACTOR = Workload(
    "conv",
    "sprites_64",
    (64, 1),
    64,
    10,
    1e-4,
    (256,),
    (32, 32, 64, 64),
    (4, 4, 2, 2),
    discriminator_units=(1000,) * 6,
)

WORKLOADS = {
    "dense_128": _DENSE,
    "dense_512": dataclasses.replace(_DENSE, batch_size=512, of_matrix_product=0.7),
    "conv28_128": _CONV28,
    "conv64_64": dataclasses.replace(_CONV64, on_replicas=True),
    "conv64_256": dataclasses.replace(_CONV64, batch_size=256),
    "resnet64_64": _RESNET,
    "factor64_64": _FACTOR,
}


def gin_file(name):
    """Returns the path of a workload's gin file."""
    return pathlib.Path(__file__).with_name(f"{name}.gin")
