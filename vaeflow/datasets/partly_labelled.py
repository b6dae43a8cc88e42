"""Training images of which only some keep their label."""

import numpy as np
import tensorflow as tf

from vaeflow.datasets.base import Split
from vaeflow.datasets.derived import DerivedSplit
from vaeflow.errors import ConfigurationError

_SEED = 20140620


class PartlyLabelledSplit(DerivedSplit):
    """A split that hides labels: those that are not kept are K, one above the largest of K classes.

    Which examples keep theirs depends on the number of each and on nothing else, so it is the same in every
    run. Each class keeps as many, or one more where they cannot be shared out equally.

    Args:
      source: the `Split`, with one label for each example.
      num_labelled: how many examples keep their label.
      setting: the name of that setting, e.g. `MNIST.num_labelled`.

    Raises:
      ConfigurationError: there is no label or more than one, or a class has too few examples.
    """

    has_unknown_labels = True

    def __init__(self, source: Split, num_labelled: int, setting: str):
        super().__init__(source)
        self.array, self.binarization = source.array, source.binarization
        if len(source.factor_names) != 1:
            named = ", ".join(source.factor_names) or "none"
            raise ConfigurationError(
                f"`{setting}` hides the label of images that have one, these have {named}; leave it out"
            )
        (self._num_classes,) = source.factor_sizes
        self._num_labelled = num_labelled
        self.factor_sizes = (self._num_classes + 1,)
        self._is_labelled = self._chosen(num_labelled, setting)

    def examples(self, indices: tf.Tensor) -> tf.Tensor:
        return self._source.examples(indices)

    def factors(self, indices: np.ndarray) -> np.ndarray:
        found = np.asarray(self._source.factors(indices)).reshape(len(indices), 1)
        return np.where(self._is_labelled[indices][:, None], found, self._num_classes)

    def labels(self, indices: tf.Tensor) -> tf.Tensor:
        return Split.labels(self, indices)

    def fingerprint(self) -> str:
        return f"{self._source.fingerprint()}, {self._num_labelled} of them with their label"

    def _chosen(self, num_labelled, setting):
        """Returns which examples keep their label, bool `[N]`."""
        classes = np.asarray(self._source.factors(np.arange(self.num_examples))).reshape(-1)
        # RandomState, unlike Generator, promises the same draw in every version of NumPy.
        order = np.random.RandomState(_SEED).permutation(self.num_examples)
        chosen = np.zeros(self.num_examples, bool)
        for label in range(self._num_classes):
            quota = num_labelled // self._num_classes + (label < num_labelled % self._num_classes)
            members = order[classes[order] == label]
            if quota > len(members):
                raise ConfigurationError(
                    f"`{setting}` is {num_labelled}, {quota} images of class {label}, and there are "
                    f"{len(members)} of it; lower it"
                )
            chosen[members[:quota]] = True
        return chosen
