"""The vector quantizer: the nearest of K learned codes at each place, or of each group of numbers there."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.quantizers.base import Quantized
from vaeflow.layers.quantizers.codebook_quantizer import CodebookQuantizer


@registry.posterior
class VectorQuantizer(CodebookQuantizer):
    """The nearest of K codes at each place of a map.

    Van den Oord, Vinyals & Kavukcuoglu 2017 (arXiv:1711.00937): a 1x1 convolution gives vectors
    z `[B, h, w, d]`; each becomes the embedding e_k of its nearest code (Eq. 1, 2), the first of
    several that are as near. How a codebook moves is told in `Codebook`: by moving averages of
    the vectors (appendix A.1), or by the gradient of the second term of Eq. 3.

    With moving averages and no restarts a code that is never chosen stays where it began, and
    often most codes are of this kind: the vectors move away from there, and take along only
    those that they chose. `restart_below` and `start` mend it.

    With several groups the d numbers of a vector are cut into G equal parts, each with a codebook and a
    code of its own (product quantization, Jégou, Douze & Schmid 2011), so that G K embeddings make
    K^G vectors.

    Args:
      num_latents: D, the length of the latents; None lets the model say it.
      num_codes: K, of each codebook.
      num_groups: G.
      **kwargs: as for `CodebookQuantizer`.

    Raises:
      ValueError: a setting is out of range.
    """

    def __init__(
        self, num_latents: int | None = None, num_codes: int = 512, num_groups: int = 1, **kwargs: Any
    ):
        super().__init__(num_latents, num_codes, **kwargs)
        self.num_groups = validation.positive_integer("VectorQuantizer.num_groups", num_groups)
        self.make_codebooks(num_groups, num_groups)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        size = self.projection.filters
        if size % self.num_groups:
            raise ConfigurationError(
                f"`VectorQuantizer.num_groups` must divide the {size} numbers of a vector, got "
                f"{self.num_groups}; change it or `VectorQuantizer.vector_size`"
            )
        for codebook in self.codebooks:
            build_once(codebook, (None, size // self.num_groups))

    def quantized(self, vectors: tf.Tensor) -> Quantized:
        compared = self.codebooks[0].compared(self._cut(vectors))
        each = zip(self.codebooks, tf.unstack(compared, axis=-2), strict=True)
        codes = tf.stack([codebook.nearest(of_group) for codebook, of_group in each], axis=-1)
        return Quantized(self.joined(compared), codes, compared, self.embeddings_of(codes))

    def joined(self, embeddings: tf.Tensor) -> tf.Tensor:
        return tf.reshape(embeddings, (*_sizes(embeddings)[:-2], self.projection.filters))

    def begin_at(self, vectors: tf.Tensor) -> None:
        for codebook, of_group in zip(self.codebooks, tf.unstack(self._cut(vectors), axis=1), strict=True):
            compared = codebook.compared(of_group)
            codebook.begin_at(codebook.compared(self.starting_embeddings(compared, self.num_codes)))

    def _cut(self, vectors):
        parts = self.num_groups, self.projection.filters // self.num_groups
        return tf.reshape(vectors, (*_sizes(vectors)[:-1], *parts))


def _sizes(tensor):
    """Lists the sizes of a tensor, with −1 for the rows."""
    return -1, *tensor.shape[1:]
