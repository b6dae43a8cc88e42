"""The base class of quantizers: posteriors whose latents are codes."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from vaeflow import validation
from vaeflow.distributions import CodePoint
from vaeflow.distributions.base import full_precision
from vaeflow.layers.base import CHANNELS_LAST, Shape, build_chain
from vaeflow.layers.posteriors import Posterior
from vaeflow.layers.quantizers.usage import code_counts, usage_by_group
from vaeflow.layers.terms import Update


class Quantized(NamedTuple):
    """What a quantizer makes of a map of vectors `[r, h, w, d]`.

    Attributes:
      continuous: the vectors as they are compared with codes, `[r, h, w, d]`, which get the gradient.
      codes: int32 `[r, h, w, G]`.
      vectors: what each code was chosen for, `[r, h, w, G, …]`.
      embeddings: what each code stands for, like `vectors`.
    """

    continuous: tf.Tensor
    codes: tf.Tensor
    vectors: tf.Tensor
    embeddings: tf.Tensor


class Quantizer(Posterior):
    """Codes at each place of a map, with one value in place of all that are near it.

    A 1x1 convolution gives vectors `[B, h, w, d]` of the encoder's features. A subclass says which
    codes they get (`quantized`), and which vector codes stand for (`vectors_of`). The gradient goes
    straight through, as if that vector were the one of the encoder (van den Oord et al. 2017,
    arXiv:1711.00937, section 3.1). Where d is not D, a linear layer makes latents of it.

    Args:
      num_latents: D; None lets the model say it.
      vector_size: d; None for D, without the linear layer.

    Attributes:
      code_sizes: K_1 … K_G, how many codes there are in each of the G groups at a place.
    """

    features_rank = 4
    code_sizes: tuple[int, ...]

    def __init__(self, num_latents: int | None = None, vector_size: int | None = None, **kwargs: Any):
        super().__init__(num_latents, **kwargs)
        if vector_size is not None:
            validation.positive_integer(f"{type(self).__name__}.vector_size", vector_size)
        self.vector_size = vector_size
        # Made here, where they take their seeds in the order of the blocks.
        self.projection = keras.layers.Conv2D(vector_size or num_latents or 1, 1, **CHANNELS_LAST)
        self.expansion = None if vector_size is None else keras.layers.Dense(num_latents or 1)

    def build(self, input_shape: Shape) -> None:
        size = self.checked_num_latents()
        self.projection.filters = size if self.vector_size is None else self.vector_size
        shape = build_chain([self.projection], input_shape, self.dtype_policy)
        if self.expansion is not None:
            self.expansion.units = size
            build_chain([self.expansion], shape, self.dtype_policy)

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return full_precision(self.projection(features))

    def distribution(self, evidence: tf.Tensor) -> CodePoint:
        found = self.quantized(evidence)
        # The added difference is 0, and has the gradient of the vectors.
        straight_through = found.continuous - tf.stop_gradient(found.continuous)
        value = tf.stop_gradient(self.joined(found.embeddings)) + straight_through
        return CodePoint(
            self._latents_of(value), found.codes, self.code_sizes, found.vectors, found.embeddings
        )

    def embed_codes(self, codes: tf.Tensor) -> tf.Tensor:
        """Returns what the decoder sees of codes.

        Args:
          codes: int32 `[r, …, G]`, code g from 0 to K_g − 1.

        Returns:
          `[r, …, D]`.
        """
        return self._latents_of(self.joined(self.embeddings_of(codes)))

    def quantized(self, vectors: tf.Tensor) -> Quantized:
        """Chooses codes for vectors `[r, h, w, d]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `quantized`")

    def embeddings_of(self, codes: tf.Tensor) -> tf.Tensor:
        """Returns what each of the codes `[r, …, G]` stands for, `[r, …, G, …]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `embeddings_of`")

    def joined(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Makes one vector of those of all groups, `[r, …, G, …]` to `[r, …, d]`; by default of one group."""
        return tf.squeeze(embeddings, axis=-2)

    def updates(self, draw: Any, step: int | tf.Tensor) -> dict[str, Update]:
        counts = code_counts(draw.posterior.codes, self.code_sizes, self.variable_dtype)
        return {"code_usage": Update(counts, lambda _: [], usage_by_group)}

    def _latents_of(self, vectors):
        return vectors if self.expansion is None else self.expansion(vectors)
