"""The base class of quantizers with learned codebooks: their settings, terms and updates."""

import math
from typing import Any

import tensorflow as tf

from vaeflow import random, schedules, validation
from vaeflow.errors import ConfigurationError
from vaeflow.layers.quantizers.base import Quantizer
from vaeflow.layers.quantizers.codebook import Codebook
from vaeflow.layers.quantizers.starts import STARTS, starting_embeddings
from vaeflow.layers.terms import Term, Update

UPDATES = ("ema", "gradient")
DISTANCES = ("euclidean", "cosine")
# Encoded at a time, when a run begins.
_IMAGES_AT_A_TIME = 16


class CodebookQuantizer(Quantizer):
    """A quantizer with one codebook for all groups of codes, or one for each.

    Args:
      num_latents: D, the length of the latents; None lets the model say it.
      num_codes: K, of each codebook.
      commitment_weight: β of Eq. 3 of van den Oord et al. 2017 (arXiv:1711.00937), a float or a
        schedule of the step. The term is the mean of |z − e|² over the places, summed over groups.
        What β does depends on the scale of −log p(x|z): 0.25 suits a Gaussian with σ = 1; divide it
        by σ² for others.
      codebook_weight: the weight of the second term of Eq. 3, |sg(z) − e|², with `update="gradient"`.
      vector_size: d, the length of the vectors that are quantized, if it is not D; a linear layer then
        makes latents of them (the factorized codes of Yu et al. 2022, arXiv:2110.04627, section 3.2).
      update: how a codebook moves, `"ema"` or `"gradient"`; see `Codebook`.
      distance: `"euclidean"` or `"cosine"`; see `Codebook`.
      ema_decay: γ, how much of the averages of a codebook a step keeps.
      epsilon: ε; see `Codebook`.
      restart_below: a code begins anew where vectors choose it less often than this share of an
        equal part; 0 for never; see `Codebook`.
      start: where the embeddings begin: `"uniform"`, between −`initial_range` and it; `"data"`, at
        vectors of training images, chosen by the seed of the run; or `"k-means"`, at the means of
        clusters of such vectors. `Trainer` and `vaeflow train` give the images; `fit` does not: call
        `start_from_examples` before it.
      initial_range: None for 1 / K.
      num_start_images: how many images the last two take; more than K vectors must come of them.
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
        restart_below: float = 0.0,
        start: str = "uniform",
        initial_range: float | None = None,
        num_start_images: int = 256,
        **kwargs: Any,
    ):
        super().__init__(num_latents, vector_size, **kwargs)
        name = type(self).__name__
        self.num_codes = validation.positive_integer(f"{name}.num_codes", num_codes)
        self.commitment_weight = validation.weight(f"{name}.commitment_weight", commitment_weight)
        self.codebook_weight = validation.weight(f"{name}.codebook_weight", codebook_weight)
        self.start = validation.one_of(f"{name}.start", start, STARTS)
        validation.positive_integer(f"{name}.num_start_images", num_start_images)
        self.num_start_examples = 0 if start == "uniform" else num_start_images
        # Above 0: of codes that are equal, only the first is ever chosen.
        initial_range = 1.0 / num_codes if initial_range is None else initial_range
        self._codebook_settings: dict[str, Any] = {
            "num_codes": num_codes,
            "initial_range": validation.positive_number(f"{name}.initial_range", initial_range),
            "update": validation.one_of(f"{name}.update", update, UPDATES),
            "distance": validation.one_of(f"{name}.distance", distance, DISTANCES),
            "ema_decay": validation.fraction(f"{name}.ema_decay", ema_decay),
            "epsilon": validation.positive_number(f"{name}.epsilon", epsilon),
            "restart_below": validation.fraction(f"{name}.restart_below", restart_below),
        }

    def make_codebooks(self, count: int, num_groups: int) -> None:
        """Makes the codebooks, in the constructor of a subclass.

        Args:
          count: how many, one for all groups or one for each.
          num_groups: G.
        """
        settings: dict[str, Any] = self._codebook_settings | {"dtype": self.dtype_policy}
        self.codebooks = [Codebook(**settings) for _ in range(count)]
        self.code_sizes = (self.num_codes,) * num_groups

    def codebook_of(self, group: int) -> Codebook:
        """Returns the codebook of a group of codes."""
        return self.codebooks[0 if len(self.codebooks) == 1 else group]

    def embeddings_of(self, codes: tf.Tensor) -> tf.Tensor:
        by_group = enumerate(tf.unstack(codes, axis=-1))
        return tf.stack([self.codebook_of(group).look_up(each) for group, each in by_group], axis=-2)

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
        statistics = []
        for number, codebook in enumerate(self.codebooks):
            groups = slice(None) if len(self.codebooks) == 1 else slice(number, number + 1)
            vectors, codes = draw.posterior.vectors[..., groups, :], draw.posterior.codes[..., groups]
            count = math.prod(codes.shape[1:])
            vectors = tf.reshape(vectors, (-1, count, vectors.shape[-1]))
            statistics.append(codebook.statistics(vectors, tf.reshape(codes, (-1, count))))
        return updates | {"codebooks": Update(statistics, self._new_values, self._num_restarts)}

    def _new_values(self, sums):
        each = zip(self.codebooks, sums, strict=True)
        return [pair for codebook, of_codebook in each for pair in codebook.new_values(of_codebook)]

    def _num_restarts(self, sums):
        """Names how many codes of all codebooks begin anew, where they may."""
        if not self.codebooks[0].restarts:
            return {}
        each = zip(self.codebooks, sums, strict=True)
        dead = tf.concat([codebook.dead(of_codebook) for codebook, of_codebook in each], axis=0)
        return {"codes/restarted": tf.reduce_sum(tf.cast(dead, self.variable_dtype))}

    def start_from_examples(self, batch: dict[str, tf.Tensor], model: Any) -> None:
        vectors: Any = tf.concat(list(self._encoded(batch, model)), axis=0)
        if vectors.shape[0] < self.num_codes:
            name = type(self).__name__
            raise ConfigurationError(
                f"{name} begins with {self.num_codes} codes, and {self.num_start_examples} images give only "
                f"{vectors.shape[0]} vectors; raise `{name}.num_start_images`, or set `{name}.start` to "
                "'uniform'"
            )
        order = tf.argsort(random.uniform((vectors.shape[0],), "float64", shared=True))
        self.begin_at(tf.gather(vectors, order))

    def begin_at(self, vectors: tf.Tensor) -> None:
        """Sets the embeddings with which training begins, from vectors of images.

        Args:
          vectors: `[n, d]`, at least K, in a random order.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `begin_at`")

    def starting_embeddings(self, vectors: tf.Tensor, num_codes: int) -> tf.Tensor:
        """Chooses embeddings, `[num_codes, d]`, for vectors `[n, d]` in a random order, as `start` says."""
        return starting_embeddings(self.start, vectors, num_codes)

    def _encoded(self, batch, model):
        """Yields the vectors of images, `[n, d]` of a few at a time."""
        size = batch["images"].shape[0]
        for first in range(0, size, _IMAGES_AT_A_TIME):
            part = {name: value[first : first + _IMAGES_AT_A_TIME] for name, value in batch.items()}
            evidence = model.infer(part)
            if not isinstance(evidence, tf.Tensor) or evidence.shape[-1] != self.projection.filters:
                name = type(self).__name__
                raise ConfigurationError(
                    f"`{name}.start` = {self.start!r} needs a model whose `infer` returns what {name} "
                    f"returns, such as VQVAE; set it to 'uniform' for {type(model).__name__}"
                )
            yield tf.reshape(evidence, (-1, evidence.shape[-1]))


def _mean_distance(vectors, others):
    """Returns the squared distances of vectors `[b, h, w, G, d]`, `[b]`: summed over G, means over places."""
    squared = tf.math.squared_difference(vectors, others)
    return tf.reduce_mean(tf.reduce_sum(squared, axis=[-2, -1]), axis=[1, 2])
