"""The autoregressive model of the codes that a tokenizer makes of images."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.distributions import Categorical
from vaeflow.errors import ConfigurationError
from vaeflow.layers import CausalTransformer, CodeNet
from vaeflow.layers.base import Shape, build_once
from vaeflow.layers.terms import Term
from vaeflow.models import batches
from vaeflow.models.base import Model
from vaeflow.models.batches import Batch
from vaeflow.models.blocks import shape_text


@dataclasses.dataclass(frozen=True)
class CodeForward:
    """One pass of a `CodePrior`.

    Attributes:
      images: the codes, int32 `[b, h, w, G]`.
      log_probs: log p of each code given those before it, in nats, `[b, h, w, G]`.
      block_losses: scalars that nested blocks tracked with `add_loss`.
      training: whether the blocks behaved as in training.
    """

    images: tf.Tensor
    log_probs: tf.Tensor
    block_losses: list
    training: bool = False

    @property
    def num_examples(self) -> int | tf.Tensor:
        """b: an int, or a scalar int32 tensor where `fit` leaves the size of a batch open."""
        size = self.images.shape[0]
        return tf.shape(self.images)[0] if size is None else size

    @functools.cached_property
    def negative_log_likelihood(self) -> tf.Tensor:
        """−log p of all codes of an example, in nats, `[b]`."""
        return -tf.reduce_sum(self.log_probs, axis=[1, 2, 3])


@registry.model
class CodePrior(Model):
    """An autoregressive model of maps of codes, p(c) = Π_n p(c_n | c_1 … c_{n−1}).

    It is the second stage of a VQ-VAE or another tokenizer:
    van den Oord et al. 2017 (arXiv:1711.00937, section 3.2) with a PixelCNN, Esser et al. 2021
    (arXiv:2012.09841, Eq. 9, 10) with a transformer. It minimizes −log p(c), in nats, which is exact: there
    are no latents and no bound. With labels y it is p(c|y).

    A batch's `images` are codes, int32 `[b, h, w, G]`: G code numbers at each of h x w places, as
    `vaeflow encode` writes them and the dataset `Codes` reads them. They follow one another row by row,
    and in a place from the first group to the last.

    Args:
      code_sizes: K, how many codes there are; or K_1 … K_G, a list with a number for each group.
      net: a `CodeNet`; None for `CausalTransformer()`.
      num_classes: how many values the label of an example has, or a list with a number for each factor;
        None for a model that reads no labels.
      **kwargs: as for `Model`.

    Raises:
      ValueError: a setting is out of range.
    """

    takes = "codes"

    def __init__(
        self,
        code_sizes: int | Sequence[int],
        net: CodeNet | None = None,
        num_classes: int | Sequence[int] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        name = type(self).__name__
        self.code_sizes = validation.size_or_sizes(f"{name}.code_sizes", code_sizes)
        if num_classes is not None:
            self.reads = ("labels",)
            self.label_sizes = validation.size_or_sizes(f"{name}.num_classes", num_classes)
        self.net = self._block("net", net, lambda: CausalTransformer(dtype=self.dtype_policy))

    def build(self, input_shape: Shape) -> None:
        """Builds the net for codes of `(None, h, w, G)`."""
        self.map_shape: Any = tuple(input_shape[1:])
        if len(self.map_shape) != 3 or len(self.code_sizes) not in (1, self.map_shape[-1]):
            name = type(self).__name__
            raise ConfigurationError(
                f"{name} was made for codes [B, h, w, {len(self.code_sizes)}], got "
                f"{shape_text(self.map_shape)}; `{name}.code_sizes` names a number for each group of codes"
            )
        if len(self.code_sizes) == 1:
            self.code_sizes *= self.map_shape[-1]
        self.net.code_sizes, self.net.label_sizes = self.code_sizes, self.label_sizes
        build_once(self.net, input_shape)

    def forward(
        self, batch: Any, step: int | tf.Tensor = schedules.END_OF_TIME, training: bool = False
    ) -> CodeForward:
        batch = self._checked(batch)
        # Codes and labels as one tensor, whose rows `in_parts` can cut.
        codes, labels = batch["images"], batch.get("labels")
        rows = tf.reshape(codes, (-1, math.prod(self.map_shape)))
        if labels is not None:
            rows = tf.concat([rows, tf.cast(labels, tf.int32)], axis=1)
        log_probs = self.in_parts(self._log_probs, rows, training=training)
        return CodeForward(codes, log_probs, list(self.losses), training)

    def objective(self, forward: CodeForward, step: int | tf.Tensor) -> dict[str, Term]:
        return {"negative_log_likelihood": Term(forward.negative_log_likelihood)}

    def evaluated(self, forward: CodeForward) -> dict[str, tf.Tensor]:
        """Returns the negative log-likelihood, and bits for each code; of each group if there are several."""
        bits = -tf.reduce_mean(forward.log_probs, axis=[1, 2]) / math.log(2.0)  # [b, G]
        of_groups = {f"bits_per_code/{group}": each for group, each in enumerate(tf.unstack(bits, axis=1))}
        return {
            "negative_log_likelihood": forward.negative_log_likelihood,
            "bits_per_code": tf.reduce_mean(bits, axis=1),
            **(of_groups if len(of_groups) > 1 else {}),
        }

    def selection_score(self, results: dict[str, float]) -> float:
        return results["negative_log_likelihood"]

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Returns log p of each code given those before it, in nats, `[b, h, w, G]`."""
        return self.forward(inputs, training=training).log_probs

    def sample(
        self,
        num_samples: int | tf.Tensor,
        labels: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> tf.Tensor:
        """Draws maps of codes, one code after the other: int32 `[n, h, w, G]`.

        The noise of a map depends on its number, not on how many are drawn.

        Args:
          num_samples: n.
          labels: integers `[n, F]`, for a model that reads them.
          temperature: above 0; 1 for p itself, see `Categorical.tempered`.
          top_k: how many codes are possible at most, the likeliest; None for all.
          top_p: the probability of the codes that are possible, the likeliest; None for all.
            See `Categorical.truncated`.
        """
        if not self.built:
            raise ConfigurationError(
                f"`{type(self).__name__}.sample` needs a model that knows the size of maps: train it, load "
                "it, or call build((None, h, w, G)) first"
            )
        labels = batches.checked_for(self, batches.as_batch({}, labels)).get("labels")
        batches.check_num_labels(labels, num_samples)
        validation.positive_number("temperature", temperature)
        if top_k is not None:
            validation.positive_integer("top_k", top_k)
        if top_p is not None:
            validation.share("top_p", top_p)
        # Drawn outside of the compiled loop, which would keep the noise of its first call.
        uniform = random.uniform((num_samples, math.prod(self.map_shape)), "float64")
        return self._drawing(uniform, labels, float(temperature), top_k, top_p)

    @functools.cached_property
    def _drawing(self):
        return tf.function(self._draw, autograph=False, reduce_retracing=True)

    def _draw(self, uniform, labels, temperature, top_k, top_p):
        """Draws codes where the noise is float64 `[n, h · w · G]`, in (0, 1]."""
        num_groups = self.map_shape[-1]
        num_places = math.prod(self.map_shape[:-1])

        def draw_place(place, state, drawn):
            codes = []
            for group in range(num_groups):
                logits, state = self.net.next_logits(state, place, group)
                conditional = Categorical(logits).tempered(temperature).truncated(top_k, top_p)
                codes.append(conditional.at(tf.gather(uniform, place * num_groups + group, axis=1)))
                state = self.net.observe(state, place, group, codes[-1])
            return place + 1, state, drawn.write(place, tf.stack(codes, axis=1))

        start = self.net.begin(tf.shape(uniform)[0], labels)
        drawn = tf.TensorArray(tf.int32, num_places, element_shape=(None, num_groups))
        _, _, drawn = tf.while_loop(
            lambda place, *_: place < num_places,
            draw_place,
            (tf.constant(0), start, drawn),
            maximum_iterations=num_places,
        )
        by_place = drawn.stack()  # [h · w, n, G]
        return tf.reshape(tf.transpose(by_place, (1, 0, 2)), (-1, *self.map_shape))

    def _log_probs(self, rows, training):
        """Returns log p of each code, `[b, h, w, G]`, of rows of codes and labels int32 `[b, h w G + F]`."""
        count = math.prod(self.map_shape)
        codes: Any = tf.reshape(rows[:, :count], (-1, *self.map_shape))
        labels = tf.cast(rows[:, count:], tf.int64) if self.reads else None
        logits = self.net(codes, labels, training=training)
        of_groups = [
            Categorical(of_group).log_prob(codes[..., group]) for group, of_group in enumerate(logits)
        ]
        return tf.cast(tf.stack(of_groups, axis=-1), self.variable_dtype)

    def _checked(self, inputs) -> Batch:
        """Returns a batch of codes with what the model reads, and builds the model for it."""
        batch = batches.checked_for(self, batches.as_batch(inputs))
        codes = tf.convert_to_tensor(batch["images"])
        self._build_for(codes)
        if not codes.dtype.is_integer or codes.shape[1:] != self.map_shape:
            raise ConfigurationError(
                f"this {type(self).__name__} takes codes, integers of the shape "
                f"{shape_text(self.map_shape)}, got {codes.dtype.name} of {shape_text(codes.shape[1:])}; "
                "`vaeflow encode` makes codes of images"
            )
        return batch | {"images": tf.cast(codes, tf.int32)}
