"""The order of examples, a pure function of the seed and the step."""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class ExampleOrder:
    """The seeded permutations of all epochs, one after the other, cut into batches.

    Batch s holds positions s·B … (s+1)·B − 1. It is always full and may straddle epochs,
    so N may be smaller than B, and the order does not depend on the number of replicas. A
    permutation sorts the raw 64-bit words of NumPy's Philox with the key (seed, epoch).
    NumPy promises the same words in every version, but not the same permutations.

    Args:
      num_examples: N.
      batch_size: B, the global batch size.
      seed: an int of at least 0.
    """

    def __init__(self, num_examples: int, batch_size: int, seed: int):
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.seed = seed
        self._permutations: dict[int, Indices] = {}

    def batch(self, step: int) -> Indices:
        """Returns the indices of the examples of batch `step`, int64 `[B]`."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(positions, self.num_examples)
        indices = np.empty(self.batch_size, np.int64)
        for epoch in range(epochs[0], epochs[-1] + 1):
            chosen = epochs == epoch
            indices[chosen] = self._permutation(epoch)[within[chosen]]
        return indices

    def _permutation(self, epoch: int) -> Indices:
        if epoch not in self._permutations:
            # A batch straddles at most two epochs, or many tiny ones.
            self._permutations = {e: p for e, p in self._permutations.items() if e == epoch - 1}
            words = np.random.Philox(key=[self.seed, epoch]).random_raw(self.num_examples)
            self._permutations[epoch] = stable_argsort(words)
        return self._permutations[epoch]


def stable_argsort(words: NDArray[np.uint64]) -> Indices:
    """Returns `np.argsort(words, kind="stable")` in a sixth of its time, for 10 million words.

    NumPy sorts values with the vector instructions of the processor, much faster than it finds their
    order. So each word takes its index into its lowest bits; the few that agree in all others are put
    in order afterwards.
    """
    count = len(words)
    num_bits = max(1, (count - 1).bit_length())
    index_mask = np.uint64((1 << num_bits) - 1)
    keys, order = words & ~index_mask, np.arange(count, dtype=np.uint64)
    keys |= order
    keys.sort()
    order = np.bitwise_and(keys, index_mask, out=order).view(np.int64)
    keys >>= np.uint64(num_bits)
    agree = np.flatnonzero(keys[1:] == keys[:-1])
    if len(agree):
        places = np.union1d(agree, agree + 1)
        found = order[places]
        order[places] = found[np.lexsort((found, words[found], keys[places]))]
    return order
