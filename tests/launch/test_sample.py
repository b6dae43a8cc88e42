"""The command on a run's folder: its files and their content."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.fixtures import tiny_runs, trained_runs
from tests.fixtures.commands import Command
from vaeflow import random, registry, trained
from vaeflow.samplers import Sampler

pytestmark = pytest.mark.slow  # Each test has a trained run.

NAMES = ("prior", "aggregate_posterior", "gaussian_mixture")
FILES = {
    *(f"samples-{name}.png" for name in NAMES),
    "reconstructions.png", "interpolations-linear.png", "interpolations-linear.gif",
    "interpolations-spherical.png", "interpolations-spherical.gif", "traversals.png", "traversals.gif",
    "samples.npz",
}  # fmt: skip


@registry.sampler
class WideSampler(Sampler):
    """The example of the base class's documentation."""

    def fit(self, model, embedding, seed):
        self.deviation = 2 * embedding.latents.std(axis=0)

    def sample(self, num_samples, seed):
        noise = np.random.default_rng(seed).normal(size=(num_samples, len(self.deviation)))
        return noise * self.deviation


@registry.sampler
class CrookedSampler(WideSampler):
    """Forgets a latent."""

    def sample(self, num_samples, seed):
        return super().sample(num_samples, seed)[:, 1:]


def arrays(folder):
    with np.load(folder / "samples" / "samples.npz") as file:
        return dict(file)


def png(path):
    return tf.io.decode_png(path.read_bytes()).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return trained_runs.trained_folder(tmp_path_factory.mktemp("grey"))


@pytest.fixture(scope="module")
def model(folder):
    with tiny_runs.configuration_of_its_own():
        return trained.load(str(folder))


@pytest.fixture(scope="module")
def drawn(folder):
    """The arrays of a call with the standard settings."""
    assert trained_runs.call_sample(folder) == 0
    return arrays(folder)


def test_files_and_pictures(folder, drawn):
    samples = folder / "samples"
    assert {path.name for path in samples.iterdir()} == FILES
    assert not list(folder.glob(".unfinished*"))
    # 8x8 images, 8 columns, gaps of 2: each pixel becomes 12x12.
    for name in NAMES:
        pixels = png(samples / f"samples-{name}.png")
        assert pixels.shape == (8 * 98 + 2, 8 * 98 + 2, 1)
        first = np.round(255 * drawn[f"samples_{name}_images"][0]).repeat(12, axis=0).repeat(12, axis=1)
        np.testing.assert_array_equal(pixels[2:98, 2:98], first)
    # Eleven held-out images: a row of 8 and one of 3, each above its reconstructions.
    assert png(samples / "reconstructions.png").shape == (4 * 98 + 2, 8 * 98 + 2, 1)
    for path in ("linear", "spherical"):
        assert png(samples / f"interpolations-{path}.png").shape == (5 * 74 + 2, 10 * 74 + 2, 1)
        with Image.open(samples / f"interpolations-{path}.gif") as file:
            assert file.n_frames == 18
            file.seek(4)
            shown = np.asarray(file.convert("L"))[2:, 2:]
        images = drawn[f"interpolation_{path}_images"]
        factor = round(750 / (3 * 8))
        expected = np.round(255 * images[0, 4, ..., 0]).repeat(factor, axis=0).repeat(factor, axis=1)
        np.testing.assert_array_equal(shown[: 8 * factor, : 8 * factor], expected)
    with Image.open(samples / "traversals.gif") as file:
        assert file.n_frames == 20


def test_arrays(model, drawn):
    shape = tiny_runs.SHAPE
    shapes = {name: array.shape for name, array in drawn.items()}
    assert shapes == {
        **{f"samples_{name}_latents": (64, 3) for name in NAMES},
        **{f"samples_{name}_images": (64, *shape) for name in NAMES},
        "reconstruction_indices": (11,),
        "reconstruction_inputs": (11, *shape),
        "reconstruction_latents": (11, 3),
        "reconstruction_images": (11, *shape),
        "interpolation_indices": (5, 2),
        "interpolation_inputs": (5, 2, *shape),
        **{f"interpolation_{path}_latents": (5, 10, 3) for path in ("linear", "spherical")},
        **{f"interpolation_{path}_images": (5, 10, *shape) for path in ("linear", "spherical")},
        "traversal_dimensions": (3,),
        "traversal_kl": (3,),
        "traversal_values": (11,),
        "traversal_start": (3,),
        "traversal_latents": (3, 11, 3),
        "traversal_images": (3, 11, *shape),
    }
    integers = {"reconstruction_indices", "interpolation_indices", "traversal_dimensions"}
    for name, array in drawn.items():
        assert array.dtype == ("int64" if name in integers else "float32"), name
        if name.endswith("_images"):
            # Bernoulli means: the sigmoid of the decoder's logits at their latents.
            latents = drawn[name.replace("images", "latents")]
            logits = model.decode(latents.reshape(-1, 3)).logits.numpy()
            expected = (1 / (1 + np.exp(-logits))).reshape(array.shape)
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-6)


def test_reconstructions_and_interpolations_start_from_held_out_images(model, drawn):
    held_out = tiny_runs.images(11, seed=1) / np.float32(255)
    means = model.encode(held_out).mean.numpy()
    np.testing.assert_array_equal(drawn["reconstruction_indices"], np.arange(11))
    np.testing.assert_allclose(drawn["reconstruction_inputs"], held_out, atol=1e-6)
    np.testing.assert_allclose(drawn["reconstruction_latents"], means, rtol=1e-4, atol=1e-5)
    pairs = drawn["interpolation_indices"]
    assert len(np.unique(pairs)) == 10
    np.testing.assert_allclose(drawn["interpolation_inputs"], held_out[pairs], atol=1e-6)
    linear = np.linspace(means[pairs[:, 0]], means[pairs[:, 1]], 10, axis=1)
    np.testing.assert_allclose(drawn["interpolation_linear_latents"], linear, rtol=1e-4, atol=1e-5)
    spherical = drawn["interpolation_spherical_latents"]
    np.testing.assert_array_equal(spherical[:, [0, -1]], drawn["interpolation_linear_latents"][:, [0, -1]])
    lengths = np.linalg.norm(spherical, axis=-1)
    np.testing.assert_allclose(lengths, np.linspace(lengths[:, 0], lengths[:, -1], 10, axis=1), rtol=1e-4)


def test_traversals_are_in_order_of_the_kl(model, drawn):
    held_out = tiny_runs.images(11, seed=1) / np.float32(255)
    posterior = model.encode(held_out)
    mean, log_variance = posterior.mean.numpy(), posterior.log_variance.numpy()
    kl = np.mean(0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1), axis=0)
    dimensions = drawn["traversal_dimensions"]
    np.testing.assert_array_equal(dimensions, np.argsort(-kl))
    np.testing.assert_allclose(drawn["traversal_kl"], np.sort(kl)[::-1], rtol=1e-4)
    np.testing.assert_allclose(drawn["traversal_values"], np.linspace(-3, 3, 11), rtol=1e-6)
    assert np.min(np.abs(mean - drawn["traversal_start"]).max(axis=1)) < 1e-5
    for row, dimension in enumerate(dimensions):
        latents = drawn["traversal_latents"][row]
        np.testing.assert_array_equal(latents[:, dimension], drawn["traversal_values"])
        others = np.delete(latents, dimension, axis=1)
        np.testing.assert_array_equal(
            others, np.broadcast_to(np.delete(drawn["traversal_start"], dimension), others.shape)
        )


def test_samplers_draw_what_they_should(drawn):
    with random.keyed(0, "prior sampler", 0):
        noise = random.normal((64, 3), "float32").numpy()
    np.testing.assert_array_equal(drawn["samples_prior_latents"], noise)
    assert np.isfinite(drawn["samples_gaussian_mixture_latents"]).all()


@pytest.mark.long
@pytest.mark.processes
def test_two_replicas_draw_the_same(folder, drawn, tmp_path):
    flags = [f"--workdir={folder}", "--virtual_devices=2"]
    code, out, error = Command("launch.sample", flags, tmp_path).finish()
    assert code == 0, error
    assert all(str(folder / "samples" / file) in out for file in FILES)
    assert "traversed  z0" in out
    assert f"model      step 20, {folder}/checkpoints" in out
    again = arrays(folder)
    assert again.keys() == drawn.keys()
    for name, array in drawn.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_seeds_and_settings(folder, drawn):
    mixture = "sample.samplers = [@PriorSampler(), @GaussianMixtureSampler(), @a/GaussianMixtureSampler()]"
    settings = [
        mixture, "GaussianMixtureSampler.num_components = 4", "a/GaussianMixtureSampler.num_components = 2",
        "sample.seed = 1", "sample.num_samples = 5", "sample.num_reconstructions = 3",
        "sample.num_interpolations = 2", "sample.num_interpolation_steps = 2",
        "sample.traverse_from = 'prior'", "sample.traversal_range = 2", "sample.num_traversal_steps = 5",
        "sample.max_traversals = 2", "sample.num_fit_examples = 20", "sample.seconds_per_frame = 0.5",
    ]  # fmt: skip
    assert trained_runs.call_sample(folder, *settings) == 0
    other = arrays(folder)
    assert {name for name in other if name.startswith("samples_")} == {
        f"samples_{name}_{kind}"
        for name in ("prior", "gaussian_mixture", "gaussian_mixture_2")
        for kind in ("latents", "images")
    }
    assert other["samples_prior_latents"].shape == (5, 3)
    assert not np.intersect1d(other["samples_prior_latents"], drawn["samples_prior_latents"]).size
    np.testing.assert_array_equal(other["reconstruction_indices"], [0, 5, 10])
    assert other["interpolation_linear_latents"].shape == (2, 2, 3)
    assert np.any(other["interpolation_indices"] != drawn["interpolation_indices"][:2])
    np.testing.assert_array_equal(other["traversal_start"], np.zeros(3))
    np.testing.assert_array_equal(other["traversal_values"], [-2, -1, 0, 1, 2])
    assert other["traversal_latents"].shape == (2, 5, 3)
    with Image.open(folder / "samples" / "traversals.gif") as file:
        assert (file.n_frames, file.info["duration"]) == (8, 500)
    assert trained_runs.call_sample(folder, *settings) == 0
    for name, array in arrays(folder).items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_a_samplers_of_ones_own(folder, capsys):
    assert (
        trained_runs.call_sample(folder, "sample.samplers = [@WideSampler()]", "sample.num_samples = 9") == 0
    )
    latents = arrays(folder)["samples_wide_latents"]
    deviation = latents[0] / np.random.default_rng(0).normal(size=(9, 3))[0]
    assert latents.shape == (9, 3)
    assert (deviation > 0).all()
    assert (folder / "samples" / "samples-wide.png").exists()
    capsys.readouterr()
    assert trained_runs.call_sample(folder, "sample.samplers = [@CrookedSampler()]") == 2
    message = "`CrookedSampler.sample` must return latents of shape (64, 3), it returned (64, 2)"
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_colour_odd_sizes_and_one_latent(tmp_path):
    folder = trained_runs.trained_folder(tmp_path, "VAE.num_latents = 1", shape=(7, 9, 3))
    assert trained_runs.call_sample(folder, "sample.num_samples = 3") == 0
    drawn = arrays(folder)
    assert drawn["samples_prior_images"].shape == (3, 7, 9, 3)
    assert drawn["traversal_images"].shape == (1, 11, 7, 9, 3)
    np.testing.assert_array_equal(
        drawn["interpolation_spherical_latents"], drawn["interpolation_linear_latents"]
    )
    # Places left over are white; 9 pixels become 90.
    pixels = png(folder / "samples" / "samples-prior.png")
    assert pixels.shape == (74, 8 * 92 + 2, 3)
    assert (pixels[:, 3 * 92 + 2 :] == 255).all()
    with Image.open(folder / "samples" / "interpolations-spherical.gif") as file:
        assert np.ptp(np.asarray(file.convert("RGB")), axis=-1).max() > 0
