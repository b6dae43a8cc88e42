"""What the likelihoods of counts make of a decoder's outputs."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import NegativeBinomial
from vaeflow.layers import NegativeBinomialLikelihood, PoissonLikelihood

OUTPUTS = np.random.default_rng(0).normal(2.0, 0.5, (3, 4, 2, 2))
COUNTS = np.random.default_rng(1).integers(0, 17, (3, 4, 2, 2))


def log_prob(likelihood, outputs):
    likelihood.build((None, *outputs.shape[1:]))
    return likelihood.distribution(tf.constant(outputs)).log_prob(COUNTS / 16)


@pytest.mark.parametrize("kind", [PoissonLikelihood, NegativeBinomialLikelihood])
def test_the_mean_is_the_count_in_units_of_the_pixels(kind):
    likelihood = kind(max_count=16, dtype="float64")
    likelihood.build((None, 4, 2, 2))
    np.testing.assert_allclose(likelihood(OUTPUTS), np.exp(OUTPUTS) / 16, rtol=1e-12)


@pytest.mark.parametrize("learned", ["no", "scalar", "per_pixel"])
def test_a_negative_binomial_takes_log_means_then_log_inverse_dispersions(learned):
    likelihood = NegativeBinomialLikelihood(2.5, learned, max_count=16, dtype="float64")
    excess = np.random.default_rng(2).normal(size=OUTPUTS.shape) if learned == "per_pixel" else 0.0 * OUTPUTS
    outputs = np.concatenate([OUTPUTS, excess], axis=-1) if learned == "per_pixel" else OUTPUTS
    expected = NegativeBinomial(tf.constant(OUTPUTS), tf.constant(np.log(2.5) + excess), 16)
    np.testing.assert_allclose(log_prob(likelihood, outputs), expected.log_prob(COUNTS / 16), rtol=1e-12)
    assert len(likelihood.trainable_variables) == (learned == "scalar")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"inverse_dispersion": 0},
            "`NegativeBinomialLikelihood.inverse_dispersion` must be a number above 0",
        ),
        (
            {"learned": "yes"},
            "`NegativeBinomialLikelihood.learned` must be one of 'no', 'scalar', 'per_pixel'",
        ),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NegativeBinomialLikelihood(**arguments)
