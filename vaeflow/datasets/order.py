"""The order of examples: a pure function of the seed and the step."""

import numpy as np


class ExampleOrder:
    """The seeded permutations of all epochs, one after the other, cut into batches.

    Batch s holds positions s·B … (s+1)·B − 1. It is always full and may straddle
    epochs, so it works with fewer examples than B, and does not depend on the
    number of replicas. A permutation sorts the raw 64-bit words of NumPy's Philox
    with the key (seed, epoch): NumPy keeps that stream, unlike its permutations,
    the same in every version.

    Args:
      num_examples: N.
      batch_size: B, global.
      seed: an int of at least 0.
    """

    def __init__(self, num_examples, batch_size, seed):
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.seed = seed
        self._permutations = {}

    def batch(self, step):
        """Returns the indices of the examples of batch `step`, int64 `[B]`."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(positions, self.num_examples)
        indices = np.empty(self.batch_size, np.int64)
        for epoch in range(epochs[0], epochs[-1] + 1):
            chosen = epochs == epoch
            indices[chosen] = self._permutation(epoch)[within[chosen]]
        return indices

    def _permutation(self, epoch):
        if epoch not in self._permutations:
            # A batch straddles two epochs at most, or many tiny ones.
            self._permutations = {e: p for e, p in self._permutations.items() if e == epoch - 1}
            words = np.random.Philox(key=[self.seed, epoch]).random_raw(self.num_examples)
            self._permutations[epoch] = np.argsort(words, kind="stable")
        return self._permutations[epoch]
