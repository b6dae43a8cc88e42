"""What is measured along each axis, as gin files and arrays of random pixels."""

import dataclasses
import pathlib

import numpy as np

from benchmarks import workloads
from benchmarks.processes import REPOSITORY

CACHE = REPOSITORY / "benchmarks" / ".cache" / "growth"
_CONV, _DENSE = "conv64_64", "dense_128"
FEW_IMAGES = 1_024
# Of a side of 8 pixels, 10 million images take 640 MB: they fit on any disk, and their number is what counts.
_SMALL_SIDE = 8
_ROWS_AT_ONCE = 100_000
# As many as 64 GPUs may train on: the faster it is, the less time there is to find the next order.
ORDER_RATE = 5_000_000


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement of an axis.

    Attributes:
      value: the place on the axis.
      kind: what the process measures: `"train"`, `"input"`, `"order"` or `"checkpoint"`.
      workload: the name of the gin file in `benchmarks/workloads`; empty where no net is involved.
      lines: gin statements that change it.
      array: number and side of the images.
      devices: the number of logical CPU devices.
      how: which of the measurements at this value it is, where there are two.
    """

    value: int
    kind: str = "train"
    workload: str = _CONV
    lines: tuple = ()
    array: tuple = (FEW_IMAGES, 64)
    devices: int = 1
    how: str = ""

    @property
    def key(self) -> str:
        """Names what the process does: points with the same key are measured together."""
        if self.kind == "order":
            return f"order of {self.value} examples"
        number, side = self.array
        parts = [f"{number} images of {side}x{side}", *self.lines]
        parts += [f"{self.devices} devices"] if self.devices > 1 else []
        return f"{self.kind} {self.workload}: {', '.join(parts)}"

    def configuration(self):
        """Returns the gin text of the measurement."""
        text = workloads.gin_file(self.workload).read_text(encoding="utf-8")
        of_data = [f'Arrays.train = "{array_path(*self.array)}"']
        of_data += [f'Arrays.evaluation = "{array_path(FEW_IMAGES, self.array[1])}"']
        if self.array[0] == FEW_IMAGES:  # The same file may not be both.
            of_data[1] = f'Arrays.evaluation = "{array_path(FEW_IMAGES // 2, self.array[1])}"'
        return "\n".join([text, *of_data, *self.lines, ""])

    def make_arrays(self):
        """Writes the images, unless they exist."""
        for number in {self.array[0], FEW_IMAGES, FEW_IMAGES // 2}:
            _make_array(number, self.array[1])


def array_path(number, side):
    """Returns the file of so many random images."""
    return CACHE / f"pixels_{number}x{side}.npy"


def _make_array(number, side):
    path = array_path(number, side)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    random = np.random.default_rng(0)
    images = np.lib.format.open_memmap(unfinished, "w+", np.uint8, (number, side, side, 1))
    for start in range(0, number, _ROWS_AT_ONCE):
        part = images[start : start + _ROWS_AT_ONCE]
        part[:] = random.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()
    # Renamed only when complete, so that an interrupted run leaves no broken array.
    unfinished.rename(path)


BASE = Point(64)


def _batch(size):
    return Point(size, lines=(f"train.batch_size = {size}",) if size != 64 else ())


def _image_size(side):
    return Point(side, array=(FEW_IMAGES, side))


def _width(filters):
    if filters == 32:
        return Point(filters)
    nets = ("ConvEncoder", "ConvDecoder")
    lines = [f"{net}.filters = {(filters,) * 4}" for net in nets]
    return Point(filters, lines=(*lines, *(f"{net}.units = {(8 * filters,) * 2}" for net in nets)))


def _latents(number):
    return Point(number, lines=(f"ConvVAE.num_latents = {number}",) if number != 10 else ())


def _examples(number):
    array = (number, _SMALL_SIDE)
    resident = ("Arrays.in_memory = True", "train.resident_data = True")
    return (
        Point(number, workload=_DENSE, array=array, lines=resident, how="in memory"),
        Point(number, workload=_DENSE, array=array, lines=("Arrays.in_memory = False",), how="mapped"),
    )


def _replicas(count):
    # Of the second net, a step has so little to compute that it shows what replicas cost the host.
    return (
        Point(count, devices=count, how="convolutional"),
        Point(count, workload=_DENSE, array=(FEW_IMAGES, _SMALL_SIDE), devices=count, how="dense, 8x8"),
    )


def _checkpoint(units):
    lines = tuple(f"{net}.units = {(units, units)}" for net in ("DenseEncoder", "DenseDecoder"))
    return Point(2 * units**2, "checkpoint", _DENSE, lines, (FEW_IMAGES, _SMALL_SIDE))


AXES = {
    "batch": tuple(map(_batch, (16, 64, 256, 1024))),
    "image_size": tuple(map(_image_size, (32, 64, 128, 256))),
    "width": tuple(map(_width, (16, 32, 64, 128))),
    "latents": tuple(map(_latents, (10, 100, 1_000, 10_000))),
    "examples": tuple(point for power in range(4, 8) for point in _examples(10**power)),
    "input": tuple(
        Point(side, "input", lines=("Arrays.in_memory = False",), array=(FEW_IMAGES, side))
        for side in (32, 64, 128, 256)
    ),
    "order": tuple(Point(10**power, "order", "") for power in range(4, 9)),
    "replicas": tuple(point for count in (1, 2, 4, 8) for point in _replicas(count)),
    "checkpoint": tuple(map(_checkpoint, (700, 2_200, 7_000))),
}


def write_configuration(point, folder):
    """Writes the gin file of a point, and the images that it reads; returns its path."""
    point.make_arrays()
    path = pathlib.Path(folder) / "configuration.gin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(point.configuration(), encoding="utf-8")
    return path
