"""Sources of images. Each has a training and an evaluation split, read by index."""

from vaeflow.datasets.arrays import Arrays
from vaeflow.datasets.augmented import AugmentedSplit
from vaeflow.datasets.base import Dataset, Split
from vaeflow.datasets.dsprites import DSprites
from vaeflow.datasets.encoded import Codes, Latents
from vaeflow.datasets.image_folder import ImageFolder
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.datasets.in_memory_codes import InMemoryCodes, InMemoryLatents
from vaeflow.datasets.mnist import MNIST, FashionMNIST
from vaeflow.datasets.photographs import Photographs
from vaeflow.datasets.random_access import RandomAccess
from vaeflow.datasets.rendered_sprites import RenderedSprites
from vaeflow.datasets.sprite_pairs import SpritePairs
from vaeflow.datasets.tables import ScikitLearnTable
from vaeflow.datasets.tfds import TFDS
from vaeflow.datasets.tfrecords import TFRecords

__all__ = [
    "MNIST",
    "TFDS",
    "Arrays",
    "AugmentedSplit",
    "Codes",
    "DSprites",
    "Dataset",
    "FashionMNIST",
    "ImageFolder",
    "InMemoryCodes",
    "InMemoryLatents",
    "InMemorySplit",
    "Latents",
    "Photographs",
    "RandomAccess",
    "RenderedSprites",
    "ScikitLearnTable",
    "Split",
    "SpritePairs",
    "TFRecords",
]
