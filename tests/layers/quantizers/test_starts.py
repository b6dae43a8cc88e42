"""Codebooks that begin at vectors of images, or at their clusters."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import small_codes, small_trainers
from tests.fixtures.numpy_quantizers import brute_force
from vaeflow.errors import ConfigurationError
from vaeflow.layers import LFQ, VectorQuantizer
from vaeflow.layers.quantizers.starts import k_means, starting_embeddings
from vaeflow.models import VQVAE


def test_k_means_are_those_of_lloyds_iterations():
    rng = np.random.default_rng(0)
    vectors, means = rng.normal(size=(60, 3)), rng.normal(size=(5, 3))
    means[4] = 50.0  # No vector is near it.
    found = k_means(tf.constant(vectors), tf.constant(means))
    for _ in range(10):
        codes = brute_force(vectors, means)
        for code in np.unique(codes):
            means[code] = vectors[codes == code].mean(axis=0)
    np.testing.assert_allclose(found, means, rtol=1e-12)
    np.testing.assert_array_equal(found[4], 3 * [50.0])


def test_k_means_find_clusters_that_lie_apart():
    rng = np.random.default_rng(1)
    middles = 10.0 * rng.normal(size=(4, 2))
    vectors = np.concatenate([middles + 0.1 * rng.normal(size=(4, 2)) for _ in range(30)])
    found = starting_embeddings("k-means", tf.constant(vectors), 4).numpy()
    assert sorted(brute_force(middles, found)) == [0, 1, 2, 3]
    np.testing.assert_allclose(found[brute_force(middles, found)], middles, atol=0.1)


def made(**settings):
    settings = {"num_start_images": 6} | settings
    trainer = small_trainers.make_trainer(make_model=lambda: small_codes.pointwise(num_codes=5, **settings))
    images = small_trainers.images() / 255
    return trainer.model, trainer.model.infer({"images": tf.constant(images)}).numpy().reshape(-1, 2)


def nearest_distances(embeddings, vectors):
    return np.linalg.norm(embeddings[:, None] - vectors, axis=-1).min(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_from_data_each_code_begins_at_a_vector_of_a_training_image(update):
    model, vectors = made(start="data", update=update)
    (codebook,) = model.posterior.codebooks
    np.testing.assert_allclose(nearest_distances(codebook.embeddings().numpy(), vectors), 0, atol=1e-12)
    assert len(np.unique(codebook.embeddings(), axis=0)) == 5
    if update == "ema":
        np.testing.assert_array_equal(codebook.sums, codebook.codebook)
    again, _ = made(start="data", update=update)
    np.testing.assert_array_equal(again.posterior.codebooks[0].codebook, codebook.codebook)


def test_of_groups_and_unit_vectors_each_codebook_begins_at_its_part():
    model, vectors = made(start="data", num_groups=2, distance="cosine")
    for group, codebook in enumerate(model.posterior.codebooks):
        unit = np.sign(vectors[:, group : group + 1])
        np.testing.assert_allclose(nearest_distances(codebook.codebook.numpy(), unit), 0, atol=1e-12)


def test_a_uniform_start_asks_for_no_images():
    model, _ = made()
    assert model.posterior.num_start_examples == 0
    assert np.abs(model.posterior.codebooks[0].codebook).max() <= 1 / 5


def test_too_few_vectors_are_refused():
    settings = {"num_codes": 13, "start": "data", "num_start_images": 1}
    message = r"VectorQuantizer begins with 13 codes, and 1 images give only 12 vectors; raise `VectorQuan"
    with pytest.raises(ConfigurationError, match=message):
        small_trainers.make_trainer(make_model=lambda: small_codes.pointwise(**settings))


class Wrapping(VQVAE):
    """Infers a nest, as a family with several quantizers may."""

    def infer(self, batch, training=False):
        return {"z": super().infer(batch, training)}


@pytest.mark.slow
def test_a_model_that_infers_something_else_is_refused():
    posterior = VectorQuantizer(3, 5, start="data", num_start_images=6)
    message = r"`VectorQuantizer.start` = 'data' needs a model whose `infer` returns what VectorQuantizer"
    with pytest.raises(ConfigurationError, match=message):
        small_trainers.make_trainer(
            make_model=lambda: Wrapping(3, **small_codes.blocks() | {"posterior": posterior})
        )


def test_codes_without_a_codebook_have_no_start():
    assert LFQ().num_start_examples == 0
