"""Tables: each row an example of one place, whose channels are the columns: `[1, 1, F]`."""

from typing import Any

import numpy as np
from absl import logging

from vaeflow import registry, validation
from vaeflow.datasets.array_files import StoredArray
from vaeflow.datasets.base import SPLITS, Dataset, Split
from vaeflow.datasets.held_out import held_out_split, num_held_out
from vaeflow.datasets.in_memory import InMemorySplit
from vaeflow.datasets.pixels import NATIVE_RANGES
from vaeflow.errors import DataError

LAYOUT = "NF"
NAMES = ("breast_cancer", "wine", "iris", "digits")
_CHUNK_ROWS = 2**16


@registry.dataset
class ScikitLearnTable(Dataset):
    """A table that comes with scikit-learn, each column scaled to [0, 1]: `[1, 1, F]`, float32.

    `breast_cancer` has 569 rows of 30 columns and 2 classes, `wine` 178 of 13 and 3, `iris` 150 of 4
    and 3, `digits` 1,797 of 64 and 10. The smallest and largest number of a column among the training
    rows become 0 and 1; other rows are clipped. The one factor is `target`, the class.

    Args:
      name: one of these names.
      evaluation_fraction: the part of the rows that is held out, the same for every seed of a run.
      **kwargs: see `Dataset`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(self, name: str = "breast_cancer", evaluation_fraction: float = 0.2, **kwargs: Any):
        super().__init__(**kwargs)
        self.name = validation.one_of("ScikitLearnTable.name", name, NAMES)
        self.evaluation_fraction = validation.fraction(
            "ScikitLearnTable.evaluation_fraction", evaluation_fraction
        )

    def load(self, name: str) -> Split:
        """Reads the table, and takes the rows of a split; see `Dataset.load`."""
        validation.one_of("split", name, SPLITS)
        rows, targets = self._read()
        setting = "ScikitLearnTable.evaluation_fraction"
        num_evaluation = num_held_out(len(rows), self.evaluation_fraction)
        train, chosen = (held_out_split(each, len(rows), num_evaluation, setting) for each in ("train", name))
        images = scaled(rows[chosen], rows[train], f"the table {self.name} of scikit-learn")
        sizes = (int(targets.max()) + 1,)
        return InMemorySplit(
            images,
            targets[chosen],
            ("target",),
            layout="NHWC",
            pixel_range=NATIVE_RANGES["float32"],
            factor_sizes=sizes,
        )

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        from sklearn import datasets

        try:
            rows, targets = getattr(datasets, f"load_{self.name}")(return_X_y=True)
        # A damaged or missing file makes scikit-learn raise several classes.
        except Exception as error:
            raise DataError(
                f"the table {self.name} of scikit-learn cannot be read: {type(error).__name__}: {error}; "
                "install scikit-learn again"
            ) from error
        return np.asarray(rows, np.float64), np.asarray(targets, np.int64)


def read_rows(source: StoredArray) -> np.ndarray:
    """Reads a table in a file: float64 `[N, F]`.

    Raises:
      DataError: it holds something else than finite numbers.
    """
    if source.dtype.kind not in "biuf":
        raise DataError(f"{source.place} holds {source.dtype}; expected a table of numbers")
    rows = np.concatenate([chunk.astype(np.float64) for _, chunk in source.chunks(_CHUNK_ROWS)])
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        row, column = bad[0]
        raise DataError(
            f"{source.place}, record {row}: column {column} is {rows[row, column]}; expected a finite "
            "number; replace or remove it"
        )
    return rows


def scaled(rows: np.ndarray, training_rows: np.ndarray, place: str) -> np.ndarray:
    """Scales each column by the range that it has in training, and clips what lies outside.

    Args:
      rows: floats `[n, F]`.
      training_rows: floats `[N, F]`.
      place: the table, for messages.

    Returns:
      float32 `[n, 1, 1, F]` in [0, 1]; 0 in a column that is constant in training.
    """
    low, high = training_rows.min(axis=0), training_rows.max(axis=0)
    constant = np.flatnonzero(low == high)
    if len(constant):
        logging.warning(
            "%s: %d columns are constant in the training rows, such as column %d, and become 0",
            *(place, len(constant), constant[0]),
        )
    span = np.where(low == high, np.inf, high - low)
    return np.clip((rows - low) / span, 0.0, 1.0).astype(np.float32)[:, None, None, :]
