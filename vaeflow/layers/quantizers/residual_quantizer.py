"""The residual quantizer: codes that add up."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.quantizers.base import Quantized
from vaeflow.layers.quantizers.codebook_quantizer import CodebookQuantizer
from vaeflow.layers.quantizers.nearest import nearest_codes


@registry.posterior
class ResidualQuantizer(CodebookQuantizer):
    """G codes at each place of a map, whose embeddings add up to the vector there.

    Lee et al. 2022 (arXiv:2203.01941), section 3.1: the first code is the nearest to the vector z, each
    further one the nearest to what is left, r_g = r_{g−1} − e(k_g) (Eq. 3), and the decoder sees
    Σ_g e(k_g). The commitment Σ_g |z − sg(e(k_1) + … + e(k_g))|² (Eq. 8) is that of each r_{g−1} to
    its code.

    Args:
      num_latents: D, the length of the latents; None lets the model say it.
      num_codes: K, of each codebook.
      depth: G.
      shared: whether all depths share a codebook, as in the paper, or have one each.
      **kwargs: as for `CodebookQuantizer`; the distance is Euclidean.

    Raises:
      ConfigurationError: the distance is another.
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_latents: int | None = None,
        num_codes: int = 512,
        depth: int = 4,
        shared: bool = True,
        **kwargs: Any,
    ):
        super().__init__(num_latents, num_codes, **kwargs)
        if kwargs.get("distance", "euclidean") != "euclidean":
            raise ConfigurationError(
                "`ResidualQuantizer.distance` must be 'euclidean', got "
                f"{kwargs['distance']!r}: what is left of a vector has a length that matters"
            )
        self.depth = validation.positive_integer("ResidualQuantizer.depth", depth)
        self.make_codebooks(1 if validation.boolean("ResidualQuantizer.shared", shared) else depth, depth)

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        for codebook in self.codebooks:
            build_once(codebook, (None, self.projection.filters))

    def quantized(self, vectors: tf.Tensor) -> Quantized:
        left, codes, embeddings = [vectors], [], []
        for group in range(self.depth):
            codebook = self.codebook_of(group)
            codes.append(codebook.nearest(left[-1]))
            embeddings.append(codebook.look_up(codes[-1]))
            left.append(left[-1] - tf.stop_gradient(embeddings[-1]))
        return Quantized(
            vectors, tf.stack(codes, axis=-1), tf.stack(left[:-1], axis=-2), tf.stack(embeddings, axis=-2)
        )

    def joined(self, embeddings: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(embeddings, axis=-2)

    def begin_at(self, vectors: tf.Tensor) -> None:
        """Sets each depth's embeddings from what the ones before leave; they share a codebook evenly."""
        sizes = [self.num_codes] * self.depth
        if len(self.codebooks) == 1:
            sizes = [self.num_codes * (group + 1) // self.depth for group in range(self.depth)]
            sizes = [size - before for size, before in zip(sizes, [0, *sizes], strict=False)]
        chosen = []
        for size in sizes:
            # A depth whose share is empty leaves all to the next.
            chosen.append(self.starting_embeddings(vectors, size))
            if size:
                codes = nearest_codes(vectors, chosen[-1])
                vectors -= tf.gather(chosen[-1], codes)
        chosen = [tf.concat(chosen, axis=0)] if len(self.codebooks) == 1 else chosen
        for codebook, embeddings in zip(self.codebooks, chosen, strict=True):
            codebook.begin_at(embeddings)
