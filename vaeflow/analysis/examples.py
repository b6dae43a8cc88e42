"""The examples of a split as a model meets them outside of training."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vaeflow.datasets import Split, pipeline, stored_batches
from vaeflow.datasets.checks import check_reads
from vaeflow.devices import cores, graph_rewrites, replicas, tracing
from vaeflow.runs import watchdog


class Examples:
    """A model and the examples that it is run on, each once and in order, on all replicas.

    What a model computes for an example depends on the seed and on the example's
    position, not on the batch size or the number of replicas, up to rounding.

    Args:
      model: a built model.
      split: the `Split`.
      strategy: the strategy that the model was made under.
      batch_size: the global batch size, divisible by the number of replicas.
      seed: keys the noise.

    Attributes:
      indices: int64 `[n]`, the chosen examples of the split; all of them at first.
    """

    def __init__(
        self,
        model: keras.Model,
        split: Split,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        seed: int = 0,
    ):
        graph_rewrites.choose()
        check_reads(model, split)
        self.model = model
        self.split = split
        self.strategy = strategy
        self.batch_size = batch_size
        self.seed = seed
        self.indices = np.arange(split.num_examples)

    def spread(self, num_examples: int | None) -> "Examples":
        """Returns `num_examples` of these, spread evenly; all of them for None."""
        other = copy.copy(self)
        other.indices = self.indices[spread_indices(len(self.indices), num_examples)]
        return other

    def at(self, indices: np.ndarray) -> "Examples":
        """Returns the examples of the split at `indices`, int64 `[n]`."""
        other = copy.copy(self)
        other.indices = indices
        return other

    def in_batches_of(self, batch_size: int) -> "Examples":
        """Returns the same examples in batches of another global size."""
        other = copy.copy(self)
        other.batch_size = batch_size
        return other

    def on_this_machine(self, values: Any) -> np.ndarray:
        """Joins the `[b, …]` of the replicas of this process, in their order."""
        return np.concatenate(self.strategy.experimental_local_results(values))

    @property
    def num_batches(self) -> int:
        """The number of global batches; the last is filled up with examples of weight 0."""
        return -(-len(self.indices) // self.batch_size)

    def batches(self, parts: Sequence[range] | None = None) -> "Batches":
        """Makes the input pipeline once; iterate over it as often as you like.

        Args:
          parts: which examples to read, in runs of consecutive positions. No batch holds examples
            of two parts, so what is computed of a part does not depend on the others. None for all.
        """
        return Batches(self, [range(len(self.indices))] if parts is None else parts)

    def on_replicas(self, function: Callable) -> Callable:
        """Compiles a function of tensors that runs on every replica."""

        @tf.function(autograph=False)
        def everywhere(*arguments):
            return self.strategy.run(function, arguments)

        return functools.partial(tracing.call_own, everywhere)

    @contextlib.contextmanager
    def batch(
        self, stored: Mapping[str, Any], stream: str, first_position: tf.Tensor
    ) -> Iterator[dict[str, tf.Tensor]]:
        """Gives a replica's batch as the model takes it; inside, noise is keyed by the positions.

        Args:
          stored: name -> `[b, …]`, this replica's part of a global batch, images as stored.
          stream: the name of this use of the seed.
          first_position: int64, the position of the global batch's first example.

        Yields:
          The batch, its images of the dtype of the model's variables, in [0, 1]; codes are integers.
        """
        num_examples = stored["images"].shape[0]
        parts = cores.num_parts(num_examples, replicas.num_local_replicas(self.strategy))
        first = self.first_position_here(first_position, num_examples)
        dtype = self.model.variable_dtype
        with (
            pipeline.keyed_batch(self.split, stored, dtype, self.seed, stream, 0, first) as batch,
            cores.cutting_blocks(parts),
        ):
            yield batch

    def blank_batch(self) -> dict[str, tf.Tensor]:
        """Returns a batch of one black image, as the model takes it."""
        stored = stored_batches.blank_batch(self.split, 1, self.model.reads)
        dtype = self.split.dtype if self.split.content == "codes" else self.model.variable_dtype
        return stored | {"images": tf.zeros((1, *self.split.shape), dtype)}

    def first_position_here(self, first_position: tf.Tensor, num_examples: int) -> Any:
        """Returns the position of this replica's first of `num_examples` examples, int64."""
        return first_position + tf.cast(replicas.replica_index() * num_examples, tf.int64)


class Batches:
    """The global batches of some examples.

    Iterating gives triples of per-replica values: a batch, name -> `[b, …]`, with images as
    stored; weights `[b]`, 1 or 0 where the last batch of a part was filled up; and int64, the
    position of the global batch's first example.

    Args:
      examples: an `Examples`.
      parts: ranges of positions among the examples.

    Raises:
      DataError: in iterating, an example cannot be read.
    """

    def __init__(self, examples: Examples, parts: Sequence[range]):
        size = examples.batch_size
        self._first_positions = [first for part in parts for first in part[::size]]
        whole = [_filled_up(examples.indices[part.start : part.stop], size) for part in parts]
        self._dataset = pipeline.evaluation_batches(
            examples.split, size, examples.strategy, np.concatenate(whole), examples.model.reads
        )

    def __iter__(self) -> Iterator[tuple[Any, Any, tf.Tensor]]:
        with pipeline.readable_errors():
            self._report(0)
            for number, (batch, weights) in enumerate(self._dataset):
                self._report(number)
                yield batch, weights, tf.constant(self._first_positions[number], tf.int64)

    def _report(self, number: int) -> None:
        watchdog.progress(f"batch {number + 1} of {len(self._first_positions)} of the images")


def _filled_up(indices: np.ndarray, size: int) -> np.ndarray:
    """Returns the indices of a part, and -1 until they make whole batches."""
    return np.pad(indices, (0, -len(indices) % size), constant_values=-1)


def spread_indices(num_examples: int, num_chosen: int | None = None) -> np.ndarray:
    """Returns int64 `[n]`: all indices below `num_examples`, or `num_chosen` spread evenly over them."""
    if num_chosen is None or num_chosen >= num_examples:
        return np.arange(num_examples)
    return np.linspace(0, num_examples - 1, num_chosen).astype(np.int64)
