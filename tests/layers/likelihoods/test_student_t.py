"""What Student's t likelihood makes of a decoder's outputs."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.distributions import StudentT
from vaeflow.layers import StudentTLikelihood

OUTPUTS = np.random.default_rng(0).normal(size=(3, 4, 2, 2))
IMAGES = np.random.default_rng(1).random((3, 4, 2, 2))


def log_prob(likelihood, outputs):
    likelihood.build((None, *outputs.shape[1:]))
    return likelihood.distribution(tf.constant(outputs)).log_prob(IMAGES)


def expected(location, scale, degrees):
    parameters = (location, np.log(scale), np.log(degrees))
    return StudentT(*map(tf.constant, parameters)).log_prob(IMAGES)


@pytest.mark.parametrize("learned", ["no", "scalar"])
def test_it_takes_locations(learned):
    likelihood = StudentTLikelihood(0.2, 4.0, learned, dtype="float64")
    found = log_prob(likelihood, OUTPUTS)
    np.testing.assert_allclose(found, expected(OUTPUTS, np.float64(0.2), np.float64(4.0)), rtol=1e-12)
    np.testing.assert_array_equal(likelihood(OUTPUTS), OUTPUTS)
    assert len(likelihood.trainable_variables) == (learned == "scalar")


def test_per_pixel_it_takes_locations_then_log_scales_then_log_degrees_of_freedom():
    outputs = np.random.default_rng(2).normal(size=(3, 4, 2, 6))
    found = log_prob(StudentTLikelihood(0.2, 4.0, "per_pixel", dtype="float64"), outputs)
    scale, degrees = 0.2 * np.exp(outputs[..., 2:4]), 4.0 * np.exp(outputs[..., 4:])
    np.testing.assert_allclose(found, expected(outputs[..., :2], scale, degrees), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [-50.0, 50.0])
def test_per_pixel_its_gradients_are_finite_at_large_outputs(dtype, size):
    outputs = tf.constant(np.full((3, 4, 2, 6), size), dtype)
    likelihood = StudentTLikelihood(learned="per_pixel", dtype=dtype)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        found = likelihood.distribution(outputs).log_prob(IMAGES)
    assert np.isfinite(found).all()
    assert np.isfinite(tape.gradient(found, outputs)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0}, "`StudentTLikelihood.scale` must be a number above 0, got 0.0"),
        ({"degrees_of_freedom": -1}, "`StudentTLikelihood.degrees_of_freedom` must be a number above 0"),
        ({"learned": True}, "`StudentTLikelihood.learned` must be one of 'no', 'scalar', 'per_pixel'"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        StudentTLikelihood(**arguments)
