"""A flow fitted to latents whose distribution is known."""

import keras
import numpy as np
import pytest

from tests.fixtures import trained_runs
from tests.fixtures.mixture_latents import (
    CENTRES,
    DEVIATION,
    WEIGHTS,
    fit_sampler,
    gaussian_embedding,
    make_embedding,
)
from vaeflow.errors import ConfigurationError
from vaeflow.samplers import FlowSampler, Sampler

SMALL = {"num_flows": 2, "hidden_units": (8,), "coupling": "affine", "num_steps": 20, "batch_size": 32}


def log_density(values):
    """log p of the mixture that the latents are drawn from."""
    squared = np.sum(((values[:, None] - CENTRES) / DEVIATION) ** 2, axis=2)
    return np.log(np.exp(-0.5 * squared) @ WEIGHTS / (2 * np.pi * np.prod(DEVIATION)))


@pytest.mark.slow
def test_a_seed_gives_the_same_fit_and_samples():
    """Whatever the state of Keras' own generator."""
    first = fit_sampler(FlowSampler(**SMALL)).sample(50, seed=7)
    assert first.shape == (50, 2)
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(fit_sampler(FlowSampler(**SMALL)).sample(50, seed=7), first)


@pytest.mark.slow
def test_without_much_of_a_fit_it_has_the_moments_of_the_latents():
    data = make_embedding()
    drawn = fit_sampler(FlowSampler(**SMALL | {"num_steps": 1}), embedding=data).sample(4000, 0)
    np.testing.assert_allclose(drawn.mean(axis=0), data.latents.mean(axis=0), atol=0.4)
    np.testing.assert_allclose(drawn.std(axis=0), data.latents.std(axis=0), rtol=0.1)


@pytest.mark.families
@pytest.mark.slow
def test_a_mixture_is_recovered():
    sampler = fit_sampler(FlowSampler(num_flows=4, hidden_units=(64,), num_steps=600))
    drawn = sampler.sample(4000, 0)
    nearest = np.argmin(np.linalg.norm(drawn[:, None] - CENTRES, axis=-1), axis=1)
    np.testing.assert_allclose(np.bincount(nearest) / len(drawn), WEIGHTS, atol=0.05)
    values = make_embedding(2000, seed=1).latents
    scaled = (values - sampler._mean) / sampler._deviation
    found = sampler._flow.distribution(None).log_prob(scaled).numpy() - np.log(sampler._deviation).sum()
    assert np.mean(log_density(values) - found) < 0.25  # KL(mixture || flow), estimated.


@pytest.mark.parametrize(("count", "size"), [(1, 2), (5, 1)])
def test_too_little_to_fit_is_refused(count, size):
    data = make_embedding(count)
    narrow = gaussian_embedding(*(each[:, :size] for each in (*data.parameters.values(), data.latents)))
    with pytest.raises(ConfigurationError, match="FlowSampler needs two latents or more of two images"):
        FlowSampler().fit(None, narrow, 0)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_flows", 0), ("coupling", "linear"), ("num_steps", 0), ("learning_rate", -1.0)],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`FlowSampler.{setting}` must be"):
        FlowSampler(**{setting: value})


@pytest.mark.families
@pytest.mark.slow
def test_sample_fits_a_flow_and_a_vamp_prior(tmp_path):
    run = trained_runs.trained_folder(tmp_path)
    settings = ("sample.samplers = [@FlowSampler(), @VampPriorSampler()]", "sample.num_samples = 6")
    small = ("FlowSampler.num_steps = 3", "VampPriorSampler.num_steps = 3")
    assert trained_runs.call_sample(run, *settings, *small) == 0
    with np.load(run / "samples" / "samples.npz") as arrays:
        for name in ("flow", "vamp_prior"):
            assert arrays[f"samples_{name}_latents"].shape == (6, 3)
            assert np.isfinite(arrays[f"samples_{name}_images"]).all()


def test_it_names_its_files():
    assert FlowSampler().name == "flow"
    assert issubclass(FlowSampler, Sampler)
