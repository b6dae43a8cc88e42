"""A codebook: the embeddings of K codes, which follow the vectors that choose them."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import random
from vaeflow.kernels.full_matmul import full_matmul
from vaeflow.layers.base import Layer, Shape
from vaeflow.layers.quantizers.nearest import looked_up, nearest_codes


class Codebook(Layer):
    """The embeddings of K codes, moved by averages of vectors or by a gradient.

    With `update="ema"` each follows the vectors that chose it (van den Oord et al. 2017,
    arXiv:1711.00937, appendix A.1), of whose number N_k and sum m_k it keeps exponential moving
    averages; e_k = m_k / N_k. As in the authors' program the N_k are smoothed,
    (N_k + ε) / (N + K ε) · N for N = Σ N_k. They begin at 1, so the first steps move a code as
    though one vector lay where it begins. With `update="gradient"` the codebook is trained as
    other weights are.

    A code is dead where N_k is less than `restart_below` times N / K. It begins anew at a vector that
    is drawn from the global batch, as in Jukebox (Dhariwal et al. 2020, arXiv:2005.00341, section 3.1),
    and with twice the N_k of a dead code: it is drawn anew after log 2 / (1 − γ) steps, about 70 for
    γ = 0.99, if no vector chooses it. A trained codebook is left to its optimizer; what moves a code
    is added to it.

    Args:
      num_codes: K.
      update: `"ema"` or `"gradient"`.
      distance: `"euclidean"`, or `"cosine"`: vectors and embeddings are divided by their norm first
        (Yu et al. 2022, arXiv:2110.04627, section 3.2).
      ema_decay: γ, how much of the averages a step keeps.
      epsilon: ε.
      initial_range: the embeddings begin uniformly between −`initial_range` and it.
      restart_below: the share of an equal part of the vectors below which a code begins anew; 0 for
        never.
    """

    def __init__(
        self,
        num_codes: int,
        update: str,
        distance: str,
        ema_decay: float,
        epsilon: float,
        initial_range: float,
        restart_below: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.distance = distance
        self.ema_decay = ema_decay
        self.epsilon = epsilon
        self.restart_below = restart_below
        self.is_trained, self.restarts = update == "gradient", restart_below > 0
        # Made here, where it takes its seed in the order of the blocks.
        self.initializer = keras.initializers.RandomUniform(-initial_range, initial_range)

    def build(self, input_shape: Shape) -> None:
        shape = (self.num_codes, input_shape[-1])
        if self.restarts or not self.is_trained:
            self.counts = self._variable((self.num_codes,), "ones", "counts")
        if not self.is_trained:
            # The same values twice, since an initializer keeps its seed.
            self.sums = self._variable(shape, self.initializer, "sums")
        elif self.restarts:
            self.moved = self._variable(shape, "zeros", "moved")
        self.codebook = self._variable(shape, self.initializer, "codebook", trainable=self.is_trained)

    @property
    def averaged_with(self) -> list[keras.Variable]:
        """What an average of the weights must average too, so that encoder and codebook fit.

        Where codes begin anew their average follows as slowly as that of a weight, and meanwhile
        lies between: the averaged encoder's vectors choose by the averaged codebook, as its decoder does.
        """
        if not self.is_trained:
            return [self.codebook]
        return [self.moved] if self.restarts else []

    def embeddings(self) -> tf.Tensor:
        """Returns the embeddings, `[K, d]`."""
        return self.compared(self._raw())

    def compared(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns vectors `[…, d]` as their distances are measured."""
        return tf.math.l2_normalize(vectors, axis=-1) if self.distance == "cosine" else vectors

    def nearest(self, vectors: tf.Tensor) -> tf.Tensor:
        """Returns the nearest code of each vector `[…, d]`, int32 `[…]`; the first of equals."""
        return nearest_codes(vectors, self.embeddings())

    def look_up(self, codes: tf.Tensor) -> tf.Tensor:
        """Returns the embeddings of codes, `[…]` to `[…, d]`, differentiable where they are trained."""
        embeddings = self.embeddings()
        return looked_up(embeddings if self.is_trained else tf.stop_gradient(embeddings), codes)  # pyright: ignore[reportReturnType] A decorator's.

    def statistics(self, vectors: tf.Tensor, codes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Sums over vectors what `new_values` needs.

        Args:
          vectors: `[b, m, d]`, m of each example.
          codes: what they chose, int32 `[b, m]`.

        Returns:
          Name -> tensor; empty if nothing but a gradient moves the codebook.
        """
        if self.is_trained and not self.restarts:
            return {}
        # A product of matrices adds in a fixed order also on a GPU, where a segment sum does not.
        chosen = tf.one_hot(tf.reshape(codes, [-1]), self.num_codes, dtype=vectors.dtype)
        sums = {"counts": tf.reduce_sum(chosen, axis=0)}
        if not self.is_trained:
            flat = tf.reshape(vectors, (-1, vectors.shape[-1]))
            sums["sums"] = full_matmul(chosen, flat, transpose_a=True)
        if self.restarts:
            sums["drawn"] = random.drawn_rows(vectors, self.num_codes)
        return sums

    def new_values(self, of_batch: dict[str, tf.Tensor]) -> list[tuple[keras.Variable, tf.Tensor]]:
        """Returns variables and their values after a step, of `statistics` of the global batch."""
        if not of_batch:
            return []
        counts = self._averaged(self.counts, of_batch["counts"])
        dead = self.dead(of_batch)
        total = tf.reduce_sum(counts)
        begun = 2.0 * self.restart_below * total / self.num_codes
        new_counts = tf.where(dead, begun, counts)
        dead = tf.expand_dims(dead, 1)
        if self.is_trained:
            moved = tf.where(dead, of_batch["drawn"] - tf.convert_to_tensor(self.codebook), self.moved)
            return [(self.counts, new_counts), (self.moved, moved)]
        sums = self._averaged(self.sums, of_batch["sums"])
        smoothed = (counts + self.epsilon) / (total + self.num_codes * self.epsilon) * total
        embeddings = sums / tf.expand_dims(smoothed, 1)
        if self.restarts:
            sums = tf.where(dead, begun * of_batch["drawn"], sums)
            embeddings = tf.where(dead, of_batch["drawn"], embeddings)
        return [(self.counts, new_counts), (self.sums, sums), (self.codebook, embeddings)]

    def dead(self, of_batch: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns which codes begin anew after a step, booleans `[K]`."""
        counts = self._averaged(self.counts, of_batch["counts"])
        return counts < self.restart_below * tf.reduce_sum(counts) / self.num_codes

    def begin_at(self, embeddings: tf.Tensor) -> None:
        """Sets the embeddings with which training begins, `[K, d]`."""
        self.codebook.assign(embeddings)
        if not self.is_trained:
            self.sums.assign(embeddings)

    def _raw(self):
        codebook = tf.convert_to_tensor(self.codebook)
        return codebook + self.moved if self.is_trained and self.restarts else codebook

    def _averaged(self, average, of_batch):
        return self.ema_decay * tf.convert_to_tensor(average) + (1.0 - self.ema_decay) * of_batch

    def _variable(self, shape, initializer, name, trainable=False):
        # Keras would cast it to the half precision of a model's `call`.
        return self.add_weight(
            shape=shape, initializer=initializer, name=name, trainable=trainable, autocast=False
        )
