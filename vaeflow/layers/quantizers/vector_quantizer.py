"""The vector quantizer: the nearest of K learned codes at each place."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.quantizers.base import Quantized, Quantizer
from vaeflow.layers.quantizers.codebook import Codebook
from vaeflow.layers.terms import Term, Update


@registry.posterior
class VectorQuantizer(Quantizer):
    """The nearest of K codes at each place of a map.

    Van den Oord, Vinyals & Kavukcuoglu 2017 (arXiv:1711.00937): a 1x1 convolution gives vectors
    z `[B, h, w, d]`; each becomes the embedding e_k of its nearest code (Eq. 1, 2), the first of
    several that are as near. How the codebook moves is told in `Codebook`: by moving averages of
    the vectors (appendix A.1), or by the gradient of the second term of Eq. 3, |sg(z) − e|².

    With moving averages and no restarts a code that is never chosen stays where it began, and
    often most codes are of this kind: the vectors move away from there, and take along only
    those that they chose.

    Args:
      num_latents: D, the length of the latents; None lets the model say it.
      num_codes: K.
      commitment_weight: β of Eq. 3, a float or a schedule of the step. The term is the mean of
        |z − e|² over the places. What β does depends on the scale of −log p(x|z): 0.25 suits a
        Gaussian with σ = 1; divide it by σ² for others.
      codebook_weight: the weight of the second term of Eq. 3 with `update="gradient"`.
      vector_size: d, the length of an embedding, if it is not D; a linear layer then makes latents of it
        (the factorized codes of Yu et al. 2022, arXiv:2110.04627, section 3.2).
      update, distance, ema_decay, epsilon, initial_range, restart_below: of the `Codebook`.
      **kwargs: as for `Quantizer`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_latents: int | None = None,
        num_codes: int = 512,
        commitment_weight: validation.Weight = 0.25,
        codebook_weight: validation.Weight = 1.0,
        vector_size: int | None = None,
        update: str = "ema",
        distance: str = "euclidean",
        ema_decay: float = 0.99,
        epsilon: float = 1e-5,
        initial_range: float | None = None,
        restart_below: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(num_latents, vector_size, **kwargs)
        self.commitment_weight = validation.weight("VectorQuantizer.commitment_weight", commitment_weight)
        self.codebook_weight = validation.weight("VectorQuantizer.codebook_weight", codebook_weight)
        self.codebooks = [
            Codebook(
                num_codes,
                update,
                distance,
                ema_decay,
                epsilon,
                initial_range,
                restart_below,
                dtype=self.dtype_policy,
            )
            for _ in range(self.num_codebooks)
        ]
        self.code_sizes = (num_codes,)

    # How many codebooks there are.
    num_codebooks = 1

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        for codebook in self.codebooks:
            build_once(codebook, (None, self.projection.filters))

    def quantized(self, vectors: tf.Tensor) -> Quantized:
        (codebook,) = self.codebooks
        compared = codebook.compared(vectors)
        codes = tf.expand_dims(codebook.nearest(compared), -1)
        return Quantized(compared, codes, tf.expand_dims(compared, -2), self.embeddings_of(codes))

    def embeddings_of(self, codes: tf.Tensor) -> tf.Tensor:
        return self.codebooks[0].look_up(codes)

    def terms(self, draw: Any, step: int | tf.Tensor) -> dict[str, Term]:
        vectors, embeddings = draw.posterior.vectors, draw.posterior.embeddings
        commitment = _mean_distance(vectors, tf.stop_gradient(embeddings))
        terms = {"commitment_loss": Term(commitment, schedules.value_at(self.commitment_weight, step))}
        if self.codebooks[0].is_trained:
            distance = _mean_distance(tf.stop_gradient(vectors), embeddings)
            terms["codebook_loss"] = Term(distance, schedules.value_at(self.codebook_weight, step))
        return terms

    def updates(self, draw: Any, step: int | tf.Tensor) -> dict[str, Update]:
        updates = super().updates(draw, step)
        for number, codebook in enumerate(self.codebooks):
            statistics = codebook.statistics(*self._of_codebook(number, draw.posterior))
            if statistics:
                updates[f"codebook_{number}"] = Update(statistics, codebook.new_values)
        return updates

    def _of_codebook(self, number, posterior):
        """Returns the vectors that chose from a codebook, `[b, m, d]`, and their codes `[b, m]`."""
        vectors, codes = posterior.vectors[..., number, :], posterior.codes[..., number]
        places = math.prod(codes.shape[1:])
        return tf.reshape(vectors, (-1, places, vectors.shape[-1])), tf.reshape(codes, (-1, places))


def _mean_distance(vectors, others):
    """Returns the squared distances of vectors `[b, h, w, G, d]`, `[b]`: summed over G, means over places."""
    squared = tf.math.squared_difference(vectors, others)
    return tf.reduce_mean(tf.reduce_sum(squared, axis=[-2, -1]), axis=[1, 2])
