"""Codes as latents: a posterior that takes the nearest code of a codebook, and a prior over codes."""

from typing import Any

import keras
import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.distributions import CodePoint, UniformOverCodes
from vaeflow.distributions.base import full_precision
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import CHANNELS_LAST, Shape, build_chain
from vaeflow.layers.posteriors import Posterior
from vaeflow.layers.priors import Prior
from vaeflow.layers.terms import Term, Update


@registry.posterior
class VectorQuantizer(Posterior):
    """The nearest of K codes at each place of a map, with a codebook of moving averages.

    Van den Oord, Vinyals & Kavukcuoglu 2017 (arXiv:1711.00937): a 1x1 convolution gives vectors
    z `[B, h, w, D]`; each becomes the embedding e_k of its nearest code (Eq. 1, 2), the first of
    several that are as near. The gradient goes straight through, as if the embedding were z.

    The codebook follows the vectors by exponential moving averages (appendix A.1), in place of the
    second term of Eq. 3: of the number N_k of vectors that chose a code, and of their sum m_k,
    both over the global batch; e_k = m_k / N_k. As in the authors' program the N_k are smoothed,
    (N_k + ε) / (N + K ε) · N for N = Σ N_k, so that a code that nobody chooses divides by no 0. They
    begin at 1, so the first steps move a code as though one vector lay where it begins. A code
    that is never chosen is not begun anew, and often most codes are of this kind: the vectors move
    away from where the codebook begins, and take along only those that they chose.

    Args:
      num_latents: D, the length of an embedding; None lets the model say it.
      num_codes: K.
      commitment_weight: β of Eq. 3, a float or a schedule of the step. The term is the mean of
        |z − e|² over the places. What β does depends on the scale of −log p(x|z): 0.25 suits a
        Gaussian with σ = 1; divide it by σ² for others.
      ema_decay: γ, how much of the averages a step keeps.
      epsilon: ε.
      initial_range: the embeddings begin uniformly between −`initial_range` and it; None for 1 / K.
        The wider they begin, the fewer of them were chosen in short runs of `vq_vae.gin`.

    Raises:
      ValueError: a setting is out of range.
    """

    features_rank = 4

    def __init__(
        self,
        num_latents: int | None = None,
        num_codes: int = 512,
        commitment_weight: validation.Weight = 0.25,
        ema_decay: float = 0.99,
        epsilon: float = 1e-5,
        initial_range: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(num_latents, **kwargs)
        self.num_codes = validation.positive_integer("VectorQuantizer.num_codes", num_codes)
        self.commitment_weight = validation.weight("VectorQuantizer.commitment_weight", commitment_weight)
        self.ema_decay = validation.fraction("VectorQuantizer.ema_decay", ema_decay)
        self.epsilon = validation.positive_number("VectorQuantizer.epsilon", epsilon)
        # Above 0: of codes that are equal, only the first is ever chosen.
        initial_range = 1.0 / num_codes if initial_range is None else initial_range
        validation.positive_number("VectorQuantizer.initial_range", initial_range)
        # Made here, where they take their seeds in the order of the blocks.
        self.projection = keras.layers.Conv2D(num_latents or 1, 1, **CHANNELS_LAST)
        self.initializer = keras.initializers.RandomUniform(-initial_range, initial_range)

    def build(self, input_shape: Shape) -> None:
        size = self.projection.filters = self.checked_num_latents()
        build_chain([self.projection], input_shape, self.dtype_policy)
        self.counts = self._average((self.num_codes,), "ones", "counts")
        # The same values twice, since an initializer keeps its seed.
        self.sums = self._average((self.num_codes, size), self.initializer, "sums")
        self.codebook = self._average((self.num_codes, size), self.initializer, "codebook")

    @property
    def averaged_with(self) -> list[keras.Variable]:
        """The codebook: averaged weights of the encoder fit one that is averaged likewise."""
        return [self.codebook]

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return full_precision(self.projection(features))

    def distribution(self, evidence: tf.Tensor) -> CodePoint:
        codebook = tf.convert_to_tensor(self.codebook)
        codes = nearest_codes(evidence, codebook)
        embeddings = tf.stop_gradient(tf.gather(codebook, codes))
        # The added difference is 0, and has the gradient of the vectors.
        return CodePoint(embeddings + (evidence - tf.stop_gradient(evidence)), codes, evidence)

    def terms(self, draw: Any, step: int | tf.Tensor) -> dict[str, Term]:
        distances = tf.math.squared_difference(draw.posterior.vectors, tf.stop_gradient(draw.value))
        commitment = tf.reduce_mean(tf.reduce_sum(distances, axis=-1), axis=[1, 2])
        return {"commitment_loss": Term(commitment, schedules.value_at(self.commitment_weight, step))}

    def updates(self, draw: Any, step: int | tf.Tensor) -> dict[str, Update]:
        vectors = tf.reshape(draw.posterior.vectors, (-1, self.num_latents))
        # A product of matrices adds in a fixed order also on a GPU, where a segment sum does not.
        chosen = tf.one_hot(tf.reshape(draw.posterior.codes, [-1]), self.num_codes, dtype=vectors.dtype)
        sums = {"counts": tf.reduce_sum(chosen, axis=0), "sums": tf.matmul(chosen, vectors, transpose_a=True)}
        return {"codebook": Update(sums, self._new_values)}

    def _new_values(self, of_batch):
        counts, sums = (
            self.ema_decay * tf.convert_to_tensor(average) + (1.0 - self.ema_decay) * of_batch[name]
            for name, average in (("counts", self.counts), ("sums", self.sums))
        )
        total = tf.reduce_sum(counts)
        smoothed = (counts + self.epsilon) / (total + self.num_codes * self.epsilon) * total
        return [(self.counts, counts), (self.sums, sums), (self.codebook, sums / smoothed[:, None])]

    def _average(self, shape, initializer, name):
        # Keras would cast it to the half precision of a model's `call`.
        return self.add_weight(
            shape=shape, initializer=initializer, name=name, trainable=False, autocast=False
        )


def nearest_codes(vectors: tf.Tensor, codebook: tf.Tensor) -> tf.Tensor:
    """Returns the code whose embedding is nearest to each vector; the first of equals.

    |z − e|² is multiplied out, which takes a matrix product and K numbers for each vector, not K D.
    What is left of |z|², the same for all codes, is dropped. Both are moved by the mean of the
    codebook first, so that rounding matters less where all lie far from 0.

    Args:
      vectors: z, `[…, D]`.
      codebook: e, `[K, D]`, of the same dtype.

    Returns:
      int32 `[…]`.
    """
    mean = tf.reduce_mean(codebook, axis=0)
    centred = codebook - mean
    flat = tf.reshape(vectors, (-1, codebook.shape[1])) - mean
    distances = tf.reduce_sum(tf.square(centred), axis=1) - 2.0 * tf.matmul(flat, centred, transpose_b=True)
    return tf.reshape(tf.argmin(distances, axis=1, output_type=tf.int32), tf.shape(vectors)[:-1])


@registry.prior
class UniformCodes(Prior):
    """Each code of the posterior's codebook is as likely as the others, at each place.

    The prior with which van den Oord et al. 2017 (arXiv:1711.00937, section 3.1) train: the KL is
    the constant log K at each place. Images that are sampled from it are noise, for it knows
    nothing of how codes follow one another.
    """

    latents_rank = None

    def build(self, input_shape: Shape) -> None:
        """Has no variables."""
        self.places: Any = tuple(input_shape[1:-1])

    def distribution(self, model: Any) -> UniformOverCodes:
        posterior = getattr(model, "posterior", None)
        codebook = getattr(posterior, "codebook", None)
        if codebook is None:
            name = type(model).__name__
            raise ConfigurationError(
                f"UniformCodes needs a posterior with a codebook, got {type(posterior).__name__}; set "
                f"`{name}.posterior` to @VectorQuantizer(), or choose another `{name}.prior`"
            )
        return UniformOverCodes(tf.convert_to_tensor(codebook), self.places)
