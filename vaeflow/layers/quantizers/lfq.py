"""Lookup-free quantization: each number of a vector becomes its sign."""

from typing import Any

import tensorflow as tf

from vaeflow import registry, schedules, validation
from vaeflow.devices import replicas
from vaeflow.errors import ConfigurationError
from vaeflow.layers.quantizers.base import Quantized, Quantizer
from vaeflow.layers.quantizers.usage import MOST_CODES
from vaeflow.layers.terms import Term


@registry.posterior
class LFQ(Quantizer):
    """The signs of d numbers at each place, a code of d bits without a codebook.

    Yu et al. 2023 (arXiv:2310.05737, MAGVIT-v2), section 3.1: a 1x1 convolution gives d numbers z at each
    place, of which the decoder sees the signs, −1 for 0 (Eq. 3); bit i of the code is 1 where z_i > 0 (Eq.
    4). The gradient goes straight through. Two terms of the objective make codes definite and all of
    them used, E[H(q(c|z))] − H(E[q(c|z)]) (Eq. 5), with q(c|z) ∝ exp(−|z − c|² / τ) over all codes c.

    The bits are independent given z, so the first entropy is the sum of theirs, exactly. The second is
    that of the mean over all places of the global batch; it couples the examples, so the Trainer
    refuses gradient accumulation with it. It is taken of up to `entropy_bits` bits at a time, and their
    entropies are added up: an upper bound, exact where d is no more.

    Args:
      num_latents: D, the length of the latents; None lets the model say it.
      num_bits: d; there are 2^d codes.
      commitment_weight: of the mean of |z − sg(sign(z))|² over the places, a float or a schedule.
      entropy_weight: of both entropies, a float or a schedule; 0 leaves the terms out. As the weights of
        other terms it depends on the scale of −log p(x|z).
      temperature: τ.
      entropy_bits: how many bits the entropy of the mean is taken of at a time.
      **kwargs: as for `Posterior`.

    Raises:
      ConfigurationError: there are too many codes.
      ValueError: a setting is out of range.
    """

    def __init__(
        self,
        num_latents: int | None = None,
        num_bits: int = 10,
        commitment_weight: validation.Weight = 0.25,
        entropy_weight: validation.Weight = 0.1,
        temperature: float = 0.01,
        entropy_bits: int = 10,
        **kwargs: Any,
    ):
        validation.positive_integer("LFQ.num_bits", num_bits)
        if num_bits >= MOST_CODES.bit_length():
            most = MOST_CODES.bit_length() - 1
            raise ConfigurationError(f"`LFQ.num_bits` must be at most {most}, got {num_bits}")
        super().__init__(num_latents, num_bits, **kwargs)
        self.code_sizes = (2**num_bits,)
        self.num_bits = num_bits
        self.commitment_weight = validation.weight("LFQ.commitment_weight", commitment_weight)
        self.entropy_weight = validation.weight("LFQ.entropy_weight", entropy_weight)
        self.temperature = validation.positive_number("LFQ.temperature", temperature)
        self.entropy_bits = validation.positive_integer("LFQ.entropy_bits", entropy_bits)

    def quantized(self, vectors: tf.Tensor) -> Quantized:
        bits = tf.cast(vectors > 0, tf.int32)
        codes = tf.reduce_sum(bits * self._basis(), axis=-1, keepdims=True)
        return Quantized(vectors, codes, tf.expand_dims(vectors, -2), self.embeddings_of(codes))

    def embeddings_of(self, codes: tf.Tensor) -> tf.Tensor:
        bits = tf.math.floormod(tf.expand_dims(codes, -1) // self._basis(), 2)
        return tf.cast(2 * bits - 1, self.variable_dtype)

    def terms(self, draw: Any, step: int | tf.Tensor) -> dict[str, Term]:
        vectors, signs = (
            tf.squeeze(each, axis=-2) for each in (draw.posterior.vectors, draw.posterior.embeddings)
        )
        squared = tf.reduce_sum(tf.math.squared_difference(vectors, tf.stop_gradient(signs)), axis=-1)
        commitment = tf.reduce_mean(squared, axis=[1, 2])
        terms = {"commitment_loss": Term(commitment, schedules.value_at(self.commitment_weight, step))}
        if self.entropy_weight == 0.0:
            return terms
        weight: Any = schedules.value_at(self.entropy_weight, step)
        # −|z − c|² differs by 4 z between c = 1 and c = −1.
        logits = 4.0 * vectors / self.temperature
        terms["code_entropy"] = Term(tf.reduce_mean(_entropy_of_bits(logits), axis=[1, 2]), weight)
        terms["mean_code_entropy"] = Term(self._entropy_of_mean(logits), -weight)
        return terms

    def _entropy_of_mean(self, logits):
        """Returns the entropy of the mean of q(c|z) over all places of the batch in scope, a scalar."""
        ones = tf.reshape(tf.sigmoid(logits), (-1, self.num_bits))
        totals, number = [], tf.cast(tf.shape(ones)[0], ones.dtype)
        for first in range(0, self.num_bits, self.entropy_bits):
            # Of a code, [n, 1], [n, 2] …: bit by bit, the lowest first.
            probabilities = tf.ones_like(ones[:, :1])
            for one in tf.split(ones, self.num_bits, axis=1)[first : first + self.entropy_bits]:
                probabilities = tf.concat([probabilities * (1.0 - one), probabilities * one], axis=1)
            totals.append(tf.reduce_sum(probabilities, axis=0))
        if self.scope == "global":
            totals = replicas.sum_over_replicas(totals)
            number *= tf.cast(replicas.num_replicas(), number.dtype)
        return tf.add_n([_entropy(total / number) for total in totals])

    def _basis(self):
        return tf.constant([2**bit for bit in range(self.num_bits)], tf.int32)


def _entropy_of_bits(logits):
    """Returns the entropy of independent bits, in nats: logits `[…, d]` to `[…]`."""
    # −p log p − (1 − p) log(1 − p), with log p = −softplus(−logit).
    one = tf.sigmoid(logits)
    return tf.reduce_sum(tf.math.softplus(logits) - one * logits, axis=-1)


def _entropy(probabilities):
    """Returns the entropy of a distribution `[K]`, in nats; a code without mass has no part in it."""
    is_there = probabilities > 0
    safe = tf.where(is_there, probabilities, tf.ones_like(probabilities))
    return -tf.reduce_sum(safe * tf.math.log(safe))
