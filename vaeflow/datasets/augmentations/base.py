"""The base class of augmentations."""

import abc

import tensorflow as tf


class Augmentation(abc.ABC):
    """A random change of training images, drawn anew each time that an example is used.

    It runs on the device, inside the training step, after the pixels were scaled to [0, 1] and
    before dynamic binarization. What it draws with `vaeflow.random` depends only on the run's seed,
    the place of this augmentation in the dataset's list, the example and the epoch: not on the
    batch size, the replicas, or where a run was resumed.

    Attributes:
      keeps_values: whether each pixel of the result is a pixel of the image, so that binary images
        stay binary.

    Example:
        @registry.augmentation
        class RandomInversion(Augmentation):
            def __init__(self, probability: float = 0.5):
                self.probability = validation.probability("RandomInversion.probability", probability)

            def augment(self, images):
                drawn = random.uniform((images.shape[0], 1, 1, 1), "float64")
                return tf.where(drawn <= self.probability, 1.0 - images, images)
    """

    keeps_values = False

    @abc.abstractmethod
    def augment(self, images: tf.Tensor) -> tf.Tensor:
        """Changes images, each by draws of its own.

        Args:
          images: `[b, H, W, C]`, floats in [0, 1].

        Returns:
          A tensor of the same shape and dtype, in [0, 1].
        """

    def check_shape(self, shape: tuple[int, ...]) -> None:  # noqa: B027 Most take any shape.
        """Raises `ConfigurationError` if it cannot change images of `shape`, `(H, W, C)`."""

    def __repr__(self) -> str:
        """Names the class and its settings; a resumed run compares this text."""
        settings = {name: value for name, value in vars(self).items() if _is_plain(value)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


def _is_plain(value: object) -> bool:
    """Whether the text of a value is the same in every process."""
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
