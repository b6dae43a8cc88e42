"""Any image dataset of TensorFlow Datasets, by name."""

import functools
import hashlib
import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.datasets import tfds_consent
from vaeflow.datasets.base import SPLITS, Dataset, InMemorySplit, Split
from vaeflow.datasets.decoding import CHANNELS, checked_image_size, decode_image, decode_images, upright
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
      data_dir: the folder of prepared datasets; None takes tfds' own.
      train_split: e.g. `"train"` or `"train[:90%]"`.
      evaluation_split: e.g. `"test"` or `"train[90%:]"`.
      image_key: the name of the image feature.
      label_key: the name of an integer feature, which becomes the factor of that name; None
        for no factor.
      image_size: `(H, W)`. Images of another size are scaled with antialiasing until they
        cover it, then cropped equally on both sides. None needs a dataset whose images all
        have the same size.
      memory_limit_bytes: the most memory that a split may take if it cannot be read by
        index.
      **kwargs: see `Dataset`.

    Raises:
      ConfigurationError: tensorflow-datasets is not installed, `name` belongs to a community
        dataset, or `image_size` is not a pair.
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
        image_size: Sequence[int] | None = None,
        memory_limit_bytes: int = 4 * 2**30,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if importlib.util.find_spec("tensorflow_datasets") is None:
            raise ConfigurationError(
                "`TFDS` needs tensorflow-datasets, which is not installed; pip install 'vaeflow[tfds]'"
            )
        self.name = tfds_consent.checked_name(name)
        self.data_dir = None if data_dir is None else str(validation.path("TFDS.data_dir", data_dir))
        self.splits = {"train": train_split, "evaluation": evaluation_split}
        self.image_key = image_key
        self.label_key = label_key
        self.image_size = checked_image_size("TFDS.image_size", image_size)
        self.memory_limit_bytes = validation.positive_count("TFDS.memory_limit_bytes", memory_limit_bytes)

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
        shape = self._image_shape()
        num_examples = self._num_examples(name)
        arguments = {"split": self.splits[name], "decoders": self._decoders()}
        try:
            records = self._builder.as_data_source(**arguments)
        except NotImplementedError:
            self._check_memory(name, num_examples * math.prod(shape))
            return self._in_memory(self._builder.as_dataset(**arguments), num_examples, shape)
        split = self._builder.info.splits[self.splits[name]]
        description = f"{self._builder.info.full_name} {split.shard_lengths} {split.num_bytes}"
        return TFDSSplit(records, shape, self, description)

    def image(self, record: dict[str, Any], shape: tuple[int, ...], place: str) -> np.ndarray:
        """Decodes the image of one record, uint8 of `shape`; `place` names the record in an error."""
        source = f"tfds {self.name}, {place}"
        image = decode_image(record[self.image_key], source, shape[2], self.image_size)
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

    def _image_shape(self) -> tuple[int, ...]:
        import tensorflow_datasets as tfds

        features = self._builder.info.features
        for key in filter(None, (self.image_key, self.label_key)):
            if key not in features:
                raise ConfigurationError(
                    f"tfds {self.name} has the features {', '.join(sorted(features))}; got {key!r}; set "
                    "`TFDS.image_key` and `TFDS.label_key` to one of them"
                )
        feature = features[self.image_key]
        if not isinstance(feature, tfds.features.Image) or feature.np_dtype != np.uint8:
            raise ConfigurationError(
                f"`TFDS.image_key` must name an 8-bit image of {self.name}, got {feature}"
            )
        stored: Any = feature.shape
        shape = (*(self.image_size or stored[:2]), stored[2])
        if None in shape or shape[2] not in CHANNELS:
            raise ConfigurationError(
                f"the images of tfds {self.name} have the shape {stored}; set `TFDS.image_size` to "
                f"(height, width), or use a dataset whose number of channels is one of {CHANNELS}"
            )
        return shape

    def _decoders(self) -> dict[str, Any]:
        import tensorflow_datasets as tfds

        # vaeflow decodes the image; the other image features are not needed.
        return {
            key: tfds.decode.SkipDecoding()
            for key, feature in self._builder.info.features.items()
            if isinstance(feature, tfds.features.Image)
        }

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
        labels = np.zeros((num_examples, 1), np.int64)
        try:
            for place, record in enumerate(records.as_numpy_iterator()):
                watchdog.progress(f"reading record {place} of {num_examples}")
                images[place] = self.image(record, shape, f"record {place}")
                labels[place] = 0 if self.label_key is None else record[self.label_key]
        except tf.errors.OpError as error:
            raise DataError(f"{self._builder.data_dir} cannot be read: {error.message}; delete it") from error
        if self.label_key is None:
            return InMemorySplit(images, layout="NHWC", pixel_range=(0, 255))
        return InMemorySplit(images, labels, (self.label_key,), layout="NHWC", pixel_range=(0, 255))


class TFDSSplit(Split):
    """A split that tfds reads by index.

    Args:
      records: a data source of tfds.
      shape: `(H, W, C)` of the images.
      source: the `TFDS` with the keys and the size.
      description: dataset, version, and the sizes of the files of the split.
    """

    def __init__(self, records: Any, shape: tuple[int, ...], source: TFDS, description: str):
        super().__init__(len(records), shape, "uint8")
        self.factor_names = () if source.label_key is None else (source.label_key,)
        self._records = records
        self._description = description
        self._source = source

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        def retry():
            return tf.numpy_function(self._read, [indices], "uint8", stateful=False)

        contents = tf.numpy_function(self._contents, [indices], tf.string, stateful=False)
        fit = self._source.image_size is not None
        return decode_images(tf.ensure_shape(contents, (None,)), self.shape, fit, retry)

    def factors(self, indices: np.ndarray) -> np.ndarray | None:
        key = self._source.label_key
        if key is None:
            return None
        return np.array([[record[key]] for record in self._chosen(indices)], np.int64)

    def content_digest(self) -> str:
        return hashlib.sha256(self._description.encode()).hexdigest()

    def _chosen(self, indices: np.ndarray) -> list[dict[str, Any]]:
        # tfds takes neither NumPy integers nor an empty list.
        return self._records.__getitems__(indices.tolist()) if len(indices) else []

    def _contents(self, indices: np.ndarray) -> np.ndarray:
        """Returns the encoded images, `[n]` bytes."""
        return np.array([upright(record[self._source.image_key]) for record in self._chosen(indices)], object)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        """Decodes images one by one, so that an error names the record: `[n, H, W, C]`, uint8."""
        pairs = zip(indices, self._chosen(indices), strict=True)
        images = [self._source.image(record, self.shape, f"record {index}") for index, record in pairs]
        return np.array(images, np.uint8).reshape(-1, *self.shape)
