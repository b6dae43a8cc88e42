"""Any image dataset of TensorFlow Datasets, by name."""

import contextlib
import functools
import hashlib
import importlib.util
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets import labels, remote, tfds_consent, tfds_features
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.crop_decoding import CropDecoder
from vaeflow.datasets.decoded_split import DecodedSplit, EncodedImages, MixedSplit
from vaeflow.datasets.decoding import decode_image
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.datasets.sizing import checked_dct_scaling, checked_sizing
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.runs import watchdog

_RANDOM_ACCESS_FORMAT = "array_record"


@registry.dataset
class TFDS(Dataset):
    """A dataset of https://www.tensorflow.org/datasets with 8-bit images: `[H, W, C]`, uint8.

    Needs `pip install 'vaeflow[tfds]'`. A dataset that is not in `data_dir` is downloaded
    and prepared there for random access, then read by index. A dataset that was prepared
    there in another file format is loaded into memory, up to `memory_limit_bytes`. A
    prepared folder can name no code but that of tfds; see `tfds_consent`.

    Args:
      name: as for `tfds.builder`, e.g. `"celeb_a"` or `"cifar10:3.0.2"`.
      data_dir: the folder of prepared datasets, or its URL, from which this dataset is copied; None takes
        tfds' own.
      train_split: e.g. `"train"` or `"train[:90%]"`.
      evaluation_split: e.g. `"test"` or `"train[90%:]"`.
      image_key: the name of the image feature.
      label_key: the name of an integer feature, which becomes the factor of that name; None
        for no factor.
      image_size: `(H, W)`. Images of another size are scaled with antialiasing until they
        cover it, then cropped equally on both sides. One number scales the shorter side to this many
        pixels, and `augmentations` begin with a `RandomCrop`. None needs a dataset whose images all have
        the same size, or such a crop of images in their own sizes. Crops of mixed sizes need a dataset
        that is prepared for random access.
      memory_limit_bytes: the most memory that a split may take if it cannot be read by
        index.
      dct_scaling: as for `ImageFolder`.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: tensorflow-datasets is not installed, `name` belongs to a community
        dataset, or `image_size` is neither a pair nor a number with a crop.
      ValueError: another setting is out of range.
    """

    def __init__(
        self,
        name: str,
        data_dir: str | None = None,
        train_split: str = "train",
        evaluation_split: str = "test",
        image_key: str = "image",
        label_key: str | None = None,
        image_size: int | Sequence[int] | None = None,
        memory_limit_bytes: int = 4 * 2**30,
        dct_scaling: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if importlib.util.find_spec("tensorflow_datasets") is None:
            raise ConfigurationError(
                "`TFDS` needs tensorflow-datasets, which is not installed; pip install 'vaeflow[tfds]'"
            )
        self.name = tfds_consent.checked_name(name)
        # Of a URL only this dataset is copied.
        place = f"{data_dir}/{tfds_consent.folder_name(self.name)}" if remote.is_url(data_dir) else data_dir
        self._source = None if place is None else remote.Source("TFDS.data_dir", place)
        self._is_remote = place != data_dir
        self.splits = {"train": train_split, "evaluation": evaluation_split}
        self.image_key = image_key
        self.label_key = label_key
        self.sizing = checked_sizing("TFDS", image_size, self.augmentations, self.binarization)
        self.dct_scaling = checked_dct_scaling("TFDS", dct_scaling, self.sizing)
        self.memory_limit_bytes = validation.positive_count("TFDS.memory_limit_bytes", memory_limit_bytes)

    @functools.cached_property
    def data_dir(self) -> str | None:
        """The folder of prepared datasets on this machine, or None; see `Source.path`."""
        if self._source is None:
            return None
        return str(self._source.path.parent if self._is_remote else self._source.path)

    def load(self, name: str) -> Split:
        """Opens a split, and prepares the dataset first if needed; see `Dataset.load`.

        Raises:
          ConfigurationError: tfds has no such dataset, split or feature, or the split
            exceeds the memory limit, or a file names code that is not tfds' own.
          DataError: the download failed, or the prepared files are unreadable.
        """
        validation.one_of("split", name, SPLITS)
        tfds_consent.check_files(self.name, self.data_dir)
        with tfds_consent.required(f"tfds {self.name}"):
            return self._load(name)

    def _load(self, name: str) -> Split:
        shape, has_one_size = self._checked_shape()
        num_examples = self._num_examples(name)
        records, is_indexed = self._records(name)
        if not is_indexed:
            if not has_one_size:
                raise ConfigurationError(
                    f"tfds {self.name} was not prepared for random access in {self._builder.data_dir}, and "
                    "crops of images of mixed sizes are decoded anew each time; prepare it in another "
                    f"`TFDS.data_dir`: tfds build {self.name} --file_format={_RANDOM_ACCESS_FORMAT}"
                )
            self._check_memory(name, num_examples * math.prod(shape))
            return self._in_memory(records, num_examples, shape)
        split = self._builder.info.splits[self.splits[name]]
        description = f"{self._builder.info.full_name} {split.shard_lengths} {split.num_bytes}"
        images = TFDSImages(records, self, description)
        if not has_one_size and self.sizing.crop is not None:
            return MixedSplit(images, CropDecoder(shape[2], self.sizing.shorter_side, self.sizing.crop))
        advice = "; set `TFDS.image_size`" if self.sizing.size is None else None
        return DecodedSplit(images, shape, advice, self.dct_scaling)

    def _records(self, name: str) -> tuple[Any, bool]:
        """Opens the records of a split, and says whether they can be read by index."""
        decoders = tfds_features.decoders(self._builder.info.features)
        arguments = {"split": self.splits[name], "decoders": decoders}
        try:
            return self._builder.as_data_source(**arguments), True
        except NotImplementedError:
            return self._builder.as_dataset(**arguments), False

    @functools.cached_property
    def num_classes(self) -> int:
        """The number of values of the label: that of its feature, or the largest for training + 1."""
        known = getattr(self._builder.info.features[self.label_key], "num_classes", None)
        if known is not None:
            return int(known)
        records, is_indexed = self._records("train")
        found = []
        with self._readable():
            for place, record in enumerate(records if is_indexed else records.as_numpy_iterator()):
                watchdog.progress(f"reading the label of record {place}")
                found.append(record[self.label_key])
        return labels.sizes_of(labels.checked(np.array(found), f"tfds {self.name}"))[0]

    def image(self, record: dict[str, Any], shape: tuple[int, ...], place: str) -> np.ndarray:
        """Decodes the image of one record, uint8 of `shape`; `place` names the record in an error."""
        source = f"tfds {self.name}, {place}"
        image = decode_image(record[self.image_key], source, shape[2], self.sizing.size, self.dct_scaling)
        if image.shape != shape:
            raise DataError(f"{source}: the image is {image.shape}, expected {shape}; set `TFDS.image_size`")
        return image

    @functools.cached_property
    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(self.name, data_dir=self.data_dir)
            if not builder.is_prepared():
                builder.download_and_prepare(file_format=_RANDOM_ACCESS_FORMAT)
        except tfds.core.DatasetNotFoundError as error:
            near = registry.did_you_mean(self.name, tfds.list_builders(with_community_datasets=False))
            raise ConfigurationError(f"`TFDS.name` {self.name!r} is not a dataset of tfds{near}") from error
        # Every dataset has its own ways to fail.
        except Exception as error:
            raise DataError(
                f"tfds {self.name} is not prepared in {self.data_dir or 'the folder of tfds'} and could not "
                f"be downloaded and prepared there: {type(error).__name__}: {error}; set `TFDS.data_dir` to "
                f"a folder that has it, or prepare it on a machine with network access: "
                f"tfds build {self.name} --file_format={_RANDOM_ACCESS_FORMAT}"
            ) from error
        return builder

    def _checked_shape(self) -> tuple[tuple[int, ...], bool]:
        """Checks that the features are what the keys should name.

        Returns:
          `(H, W, C)` of the images as training reads them; and whether all have one size, so that a crop is
          cut on the device.
        """
        features = self._builder.info.features
        tfds_features.check_keys(features, self.name, self.image_key, self.label_key)
        image, (size, shorter_side, crop) = features[self.image_key], self.sizing
        has_one_size = crop is None or (shorter_side is None and None not in image.shape)
        size = size if has_one_size or crop is None else crop.size
        return tfds_features.image_shape(image, self.name, size), has_one_size

    def _num_examples(self, name: str) -> int:
        splits = self._builder.info.splits
        try:
            return splits[self.splits[name]].num_examples
        except (KeyError, ValueError) as error:
            setting = "train_split" if name == "train" else "evaluation_split"
            raise ConfigurationError(
                f"`TFDS.{setting}` must be a split of {self.name}, which has "
                f"{', '.join(splits)}; got {self.splits[name]!r}"
            ) from error

    def _check_memory(self, name: str, num_bytes: int) -> None:
        if num_bytes > self.memory_limit_bytes:
            raise ConfigurationError(
                f"tfds {self.name} was not prepared for random access in {self._builder.data_dir}, and its "
                f"{name} split would take {num_bytes} bytes of memory, over `TFDS.memory_limit_bytes` = "
                f"{self.memory_limit_bytes}; raise the limit, or prepare the dataset in another "
                f"`TFDS.data_dir`: tfds build {self.name} --file_format={_RANDOM_ACCESS_FORMAT}"
            )

    def _in_memory(self, records: Any, num_examples: int, shape: tuple[int, ...]) -> InMemorySplit:
        images = np.empty((num_examples, *shape), np.uint8)
        found = np.zeros(num_examples, np.int64)
        with self._readable():
            for place, record in enumerate(records.as_numpy_iterator()):
                watchdog.progress(f"reading record {place} of {num_examples}")
                images[place] = self.image(record, shape, f"record {place}")
                found[place] = 0 if self.label_key is None else record[self.label_key]
        as_it_is: dict[str, Any] = {"layout": "NHWC", "pixel_range": (0, 255)}
        if self.label_key is None:
            return InMemorySplit(images, **as_it_is)
        split = InMemorySplit(images, found, (self.label_key,), **as_it_is)
        # `labels` refuses what exceeds it; the factors of an evaluation may, as they do in `TFDSImages`.
        split.factor_sizes = (self.num_classes,)
        return split

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Turns an error of the prepared files into a `DataError`."""
        try:
            yield
        except tf.errors.OpError as error:
            raise DataError(f"{self._builder.data_dir} cannot be read: {error.message}; delete it") from error


class TFDSImages(EncodedImages):
    """Images that tfds reads by index.

    Args:
      records: a data source of tfds.
      source: the `TFDS` with the keys.
      description: dataset, version, and the sizes of the files of the split.
    """

    def __init__(self, records: Any, source: TFDS, description: str):
        self.factor_names = () if source.label_key is None else (source.label_key,)
        self._records = records
        self._description = description
        self._source = source

    def __len__(self) -> int:
        return len(self._records)

    def contents(self, indices: np.ndarray) -> list[bytes]:
        return [record[self._source.image_key] for record in self._chosen(indices)]

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        key = self._source.label_key
        if key is None:
            return None
        return np.array([[record[key]] for record in self._chosen(indices)], np.int64).reshape(-1, 1)

    @functools.cached_property
    def factor_sizes(self) -> tuple[int, ...]:
        return (self._source.num_classes,) if self.factor_names else ()

    def describe(self, index: int) -> str:
        return f"tfds {self._source.name}, record {index}"

    def digest(self) -> str:
        return hashlib.sha256(self._description.encode()).hexdigest()

    def _chosen(self, indices: np.ndarray) -> list[dict[str, Any]]:
        # tfds takes neither NumPy integers nor an empty list.
        return self._records.__getitems__(indices.tolist()) if len(indices) else []
