"""Passes, groups and samples: one model of two groups against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import two_levels
from vaeflow import random
from vaeflow.analysis.embedding import embed
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.importance_sampling import ImportanceSampler
from vaeflow.datasets import InMemorySplit
from vaeflow.distributions import Gaussian
from vaeflow.errors import ConfigurationError
from vaeflow.models import LatentModel
from vaeflow.models.passes import Centred, Generated, Inferred

COUNT = 5


@pytest.fixture(scope="module")
def model():
    return two_levels.make()


def log_normal(value, mean, log_variance):
    """Sums log N over all axes but the first."""
    density = -0.5 * ((value - mean) ** 2 / np.exp(log_variance) + log_variance + np.log(2 * np.pi))
    return density.reshape(len(density), -1).sum(axis=1)


def numpy_pass(model, images, noise_top, noise_bottom):
    """The latents and all log densities of rows, in NumPy."""
    kernels = {name: getattr(model, name).numpy() for name in ("inward", "down", "up", "outward")}
    flat = images.reshape(len(images), -1)
    mean_top = flat @ kernels["inward"]
    top = mean_top + np.exp(-0.5) * noise_top
    prior_bottom = top @ kernels["down"]
    mean_bottom = flat @ kernels["up"] + prior_bottom
    bottom = mean_bottom + np.exp(-1.0) * noise_bottom.reshape(len(images), -1)
    outputs = bottom @ kernels["outward"]
    return {
        "top": top,
        "bottom": bottom,
        "log_likelihood": (flat * outputs - np.logaddexp(0, outputs)).sum(axis=1),
        "log_prior": log_normal(top, 0.0, 0.0) + log_normal(bottom, prior_bottom, -1.0),
        "log_posterior": log_normal(top, mean_top, -1.0) + log_normal(bottom, mean_bottom, -2.0),
        "kl": 0.5 * np.sum(mean_top**2 + np.exp(-1) + 1 - 1, axis=1)
        + 0.5 * np.sum((mean_bottom - prior_bottom) ** 2 / np.exp(-1) + np.exp(-1) + 1 - 1, axis=1),
    }


@pytest.mark.parametrize("num_samples", [1, 3])
def test_a_pass_with_samples_gives_what_numpy_gives(model, num_samples):
    images = two_levels.images(COUNT)
    with random.keyed(0, "train", 7):
        forward = model.forward(tf.constant(images), num_samples=num_samples)
    with random.keyed(0, "train", 7):  # Two draws of all rows, one for each group.
        rows = COUNT * num_samples
        noise = [random.normal(shape, "float64").numpy() for shape in ((rows, 3), (rows, 2, 2, 1))]
    expected = numpy_pass(model, np.repeat(images, num_samples, axis=0), *noise)
    by_sample = {name: value.reshape(COUNT, num_samples, -1) for name, value in expected.items()}
    weight = by_sample["log_likelihood"] + by_sample["log_prior"] - by_sample["log_posterior"]
    np.testing.assert_allclose(forward.draws["top"].value, expected["top"], rtol=1e-10)
    np.testing.assert_allclose(
        tf.reshape(forward.draws["bottom"].value, (rows, 4)), expected["bottom"], rtol=1e-10
    )
    np.testing.assert_allclose(forward.log_weight, weight[..., 0], rtol=1e-10)
    np.testing.assert_allclose(forward.kl, by_sample["kl"].mean(axis=(1, 2)), rtol=1e-10)
    np.testing.assert_allclose(
        forward.reconstruction_loss, -by_sample["log_likelihood"].mean(axis=(1, 2)), rtol=1e-10
    )
    assert forward.kl_of("top").shape == (COUNT, 3)
    assert forward.kl_of("bottom").shape == (COUNT, 4)
    np.testing.assert_array_equal(forward.images, images)
    assert forward.num_examples == COUNT


def test_the_center_of_a_group_depends_on_the_centers_above(model):
    images = two_levels.images(COUNT)
    expected = numpy_pass(model, images, np.zeros((COUNT, 3)), np.zeros((COUNT, 4)))
    centred = model.centred(tf.constant(images))
    np.testing.assert_allclose(centred.draws["top"].value, expected["top"], rtol=1e-10)
    np.testing.assert_allclose(
        tf.reshape(centred.draws["bottom"].value, (COUNT, 4)), expected["bottom"], rtol=1e-10
    )
    np.testing.assert_array_equal(model(tf.constant(images)), centred.reconstruction.mean)
    assert model.encode(tf.constant(images)).keys() == {"top", "bottom"}


def test_latents_that_are_given_are_decoded_and_the_others_drawn(model):
    images = tf.constant(two_levels.images(COUNT))
    with random.keyed(0, "train", 7):
        forward = model.forward(images)
    latents = {name: draw.value for name, draw in forward.draws.items()}
    np.testing.assert_array_equal(model.decode(latents).mean, forward.reconstruction.mean)
    with random.keyed(0, "sample", 0):
        half = model.decode({"top": latents["top"]}).mean
    assert half.shape == images.shape
    with pytest.raises(
        ConfigurationError, match="TwoLevels has no latents middle; its groups are top, bottom"
    ):
        model.decode(latents | {"middle": latents["top"]})


def test_a_temperature_scales_the_draws_of_the_prior(model):
    def drawn(temperature):
        with random.keyed(0, "sample", 0):
            return model.sample_latents(4, temperature=temperature)

    np.testing.assert_allclose(drawn(0.5)["top"], 0.5 * drawn(1.0)["top"], rtol=1e-12)
    with pytest.raises(ValueError, match="`temperature` must be a number above 0, got 0"):
        model.sample(2, temperature=0)


def test_free_bits_count_per_unit_of_each_group():
    model = two_levels.make(free_bits=0.7)
    images = tf.constant(two_levels.images(COUNT))
    with random.keyed(0, "train", 0):
        forward = model.forward(images, 0, training=True)
    deficits = [np.maximum(0.7 - forward.kl_of(name).numpy().mean(axis=0), 0) for name in forward.draws]
    expected = sum(each.sum() for each in deficits)
    assert expected > 0
    assert float(model.objective(forward, 0)["free_bits"].value) == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
def test_each_group_is_evaluated_and_embedded(model):
    split = InMemorySplit((255 * two_levels.images(COUNT)).astype(np.uint8))
    examples = Examples(model, split, tf.distribute.get_strategy(), 2)
    results = Evaluator(examples).evaluate()
    assert results["kl"] == pytest.approx(results["kl/top"] + results["kl/bottom"], rel=1e-12)
    assert results["negative_elbo"] == pytest.approx(
        results["reconstruction_loss"] + results["kl"], rel=1e-12
    )
    assert [name for name in results if name.startswith("active_units")] == [
        "active_units/top",
        "active_units/bottom",
    ]
    assert {name for name in results if name.startswith("kl_per_dimension")} == {
        f"kl_per_dimension/top/{unit:02d}" for unit in range(3)
    }
    embedded = embed(examples)
    assert embedded["bottom"].latents.shape == (COUNT, 2, 2, 1)
    assert (embedded["top"].is_gaussian, embedded["bottom"].is_gaussian) == (True, False)
    bounds = ImportanceSampler(examples, [1, 200]).estimate()
    assert bounds[200] < bounds[1]


@pytest.mark.parametrize("one_pass", [Inferred(), Centred(), Generated(3)])
def test_a_group_is_drawn_once(one_pass):
    zeros = tf.zeros(2)

    def posterior():
        return Gaussian(tf.zeros((3, 2)), zeros)

    one_pass.draw("z", lambda: Gaussian(zeros, zeros), posterior)
    with pytest.raises(ConfigurationError, match="the latents 'z' are drawn twice"):
        one_pass.draw("z", lambda: Gaussian(zeros, zeros), posterior)


def test_a_prior_over_another_shape_is_refused():
    one_pass = Centred()
    one_pass.draw(
        "z", lambda: Gaussian(tf.zeros(3), tf.zeros(3)), lambda: Gaussian(tf.zeros((5, 2)), tf.zeros(2))
    )
    with pytest.raises(ConfigurationError, match=r"values of the shape \[3\], the latents are \[2\]"):
        _ = one_pass.draws["z"].prior


@pytest.mark.parametrize("method", ["infer", "draw_latents", "likelihood_of"])
def test_a_method_that_is_missing_is_named(method):
    with pytest.raises(NotImplementedError, match=f"LatentModel must implement `{method}`"):
        getattr(LatentModel(), method)(None, None)
