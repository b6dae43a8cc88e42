"""The VQ-VAE: a step of training written out in NumPy, and where its codebook is updated."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae, small_codes, tiny_runs
from tests.fixtures.small_trainers import assert_same, make_trainer
from vaeflow import testing
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import ConfigurationError
from vaeflow.layers import GaussianPosterior
from vaeflow.models import VAE, VQVAE

SHAPE = (4, 3, 2)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE)).astype(np.uint8)
RATE = 0.01


@pytest.fixture
def untraced():
    with tiny_runs.untraced():
        yield


def sgd():
    return keras.optimizers.SGD(RATE)


def pointwise_trainer(optimizer=sgd, **settings):
    split = settings.pop("split", InMemorySplit(PIXELS))
    return make_trainer(optimizer, split, small_codes.pointwise, batch_size=6, **settings)


class Twin:
    """`small_codes.pointwise` in NumPy: Eq. 1 to 3 of arXiv:1711.00937 and its appendix A.1."""

    sigma, beta, decay, epsilon = 0.5, 0.25, 0.99, 1e-5

    def __init__(self, model):
        self.kernel, self.bias = (v.numpy() for v in model.posterior.projection.variables)
        self.kernel = self.kernel[0, 0]
        self.out, self.out_bias = (v.numpy() for v in model.decoder.dense.variables)
        self.counts, self.sums, self.codebook = (
            getattr(model.posterior.codebooks[0], name).numpy() for name in ("counts", "sums", "codebook")
        )

    def step(self, images):
        """Takes a step; returns the three terms, means over the batch."""
        batch, places = len(images), images.shape[1] * images.shape[2]
        pixels = images.reshape(batch * places, -1)
        vectors = pixels @ self.kernel + self.bias
        codes = np.argmin(((vectors[:, None] - self.codebook) ** 2).sum(axis=2), axis=1)
        embeddings = self.codebook[codes]
        outputs = embeddings @ self.out + self.out_bias
        losses = numpy_vae.gaussian_loss(outputs.reshape(images.shape), self.sigma**2, images)
        kl = places * np.log(len(self.codebook))
        commitment = ((vectors - embeddings) ** 2).sum(axis=1).mean()

        to_outputs = (outputs - pixels) / self.sigma**2 / batch
        # Straight through, and β |z − sg(e)|².
        to_vectors = to_outputs @ self.out.T
        to_vectors += self.beta * 2 * (vectors - embeddings) / (batch * places)
        self.out -= RATE * embeddings.T @ to_outputs
        self.out_bias -= RATE * to_outputs.sum(axis=0)
        self.kernel -= RATE * pixels.T @ to_vectors
        self.bias -= RATE * to_vectors.sum(axis=0)

        chosen = np.eye(len(self.codebook))[codes]
        used, times = np.unique(codes, return_counts=True)
        self.used = len(used)
        self.perplexity = np.exp(-np.sum(times / len(codes) * np.log(times / len(codes))))
        self.counts = self.decay * self.counts + (1 - self.decay) * chosen.sum(axis=0)
        self.sums = self.decay * self.sums + (1 - self.decay) * chosen.T @ vectors
        total = self.counts.sum()
        smoothed = (self.counts + self.epsilon) / (total + len(self.counts) * self.epsilon) * total
        self.codebook = self.sums / smoothed[:, None]
        return losses.mean(), kl, commitment


@pytest.mark.slow
def test_training_is_that_of_its_twin(untraced):
    trainer = pointwise_trainer()
    twin, order = Twin(trainer.model), ExampleOrder(12, 6, trainer.settings.seed)
    for step in range(3):
        report = trainer.train_and_report(1)
        reconstruction, kl, commitment = twin.step(PIXELS[order.batch(step)] / 255)
        assert report["reconstruction_loss"] == pytest.approx(reconstruction, rel=1e-10)
        assert report["kl"] == pytest.approx(kl, rel=1e-10)
        assert report["commitment_loss"] == pytest.approx(commitment, rel=1e-10)
        assert report["loss"] == pytest.approx(reconstruction + kl + 0.25 * commitment, rel=1e-10)
        assert report["codes/perplexity"] == pytest.approx(twin.perplexity, rel=1e-10)
        assert report["codes/usage"] == twin.used / 4
        assert report["codes/dead"] == 4 - twin.used
    found, start = Twin(trainer.model), Twin(pointwise_trainer().model)
    for name in ("kernel", "bias", "out", "out_bias", "counts", "sums", "codebook"):
        np.testing.assert_allclose(getattr(found, name), getattr(twin, name), rtol=1e-9, atol=1e-12)
        assert np.any(getattr(found, name) != getattr(start, name)), name


def codebook(model):
    return [variable.numpy() for variable in model.posterior.non_trainable_variables]


@pytest.mark.slow
def test_nothing_but_a_step_of_training_moves_the_codebook(untraced):
    trainer = pointwise_trainer()
    model, images = trainer.model, tf.constant(PIXELS / 255)
    before = codebook(model)
    model.forward(images, 0, training=True)
    model(images, training=True)
    Evaluator(Examples(model, InMemorySplit(PIXELS), trainer.strategy, 6)).evaluate()
    assert_same(codebook(model), before, 0)
    trainer.train(1)
    assert np.any(codebook(model)[-1] != before[-1])


def test_a_skipped_step_leaves_the_codebook_as_it_is(untraced):
    trainer = pointwise_trainer(skip_gradient_norm=1e-9)
    before = codebook(trainer.model)
    assert trainer.train_and_report(2)["skipped"] == 1.0
    assert_same(codebook(trainer.model), before, 0)


@pytest.mark.slow
def test_an_average_of_the_weights_has_the_average_of_the_codebook(untraced):
    trainer = pointwise_trainer(ema_decay=0.3)
    expected = trainer.model.posterior.codebooks[0].codebook.numpy()
    for step in range(1, 4):
        trainer.train(1)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.model.posterior.codebooks[0].codebook.numpy()
    with trainer.averaged_weights():
        np.testing.assert_allclose(trainer.model.posterior.codebooks[0].codebook, expected, rtol=1e-12)


@pytest.mark.slow
def test_the_negative_elbo_has_a_constant_kl_and_no_likelihood(untraced):
    trainer = pointwise_trainer()
    results = Evaluator(Examples(trainer.model, InMemorySplit(PIXELS), trainer.strategy, 6)).evaluate()
    assert results["kl"] == pytest.approx(12 * np.log(4))
    assert results["negative_elbo"] == pytest.approx(results["reconstruction_loss"] + results["kl"])
    assert "active_units" not in results
    with pytest.raises(ConfigurationError, match="importance weights need densities, and CodePoint or"):
        _ = trainer.model.forward(tf.constant(PIXELS / 255)).log_weight


@pytest.mark.slow
def test_a_saved_model_comes_back_with_its_codebook(tmp_path):
    model = small_codes.small()
    model.build((None, *SHAPE))
    model.posterior.codebooks[0].codebook.assign_add(tf.ones_like(model.posterior.codebooks[0].codebook))
    model.save(tmp_path / "model.keras")
    again, images = keras.saving.load_model(tmp_path / "model.keras"), numpy_vae.images(3).astype("float32")
    np.testing.assert_array_equal(again(images), model(images))
    np.testing.assert_array_equal(again.encode(images).codes, model.encode(images).codes)
    assert_same(codebook(again), codebook(model), 0)


def test_the_default_blocks_are_the_papers():
    model = VQVAE()
    blocks = model.encoder, model.decoder, model.likelihood, model.posterior, model.prior
    assert [type(block).__name__ for block in blocks] == [
        "ResidualMapEncoder",
        "ResidualMapDecoder",
        "GaussianLikelihood",
        "VectorQuantizer",
        "UniformCodes",
    ]
    assert (model.num_latents, model.posterior.code_sizes) == (64, (512,))


@pytest.mark.slow
def test_codes_alone_give_the_reconstruction():
    model, images = small_codes.small(), numpy_vae.images(3).astype("float32")
    codes = model.encode_codes(images)
    assert codes.dtype == tf.int32
    assert codes.shape == (3, 1, 1, 1)
    np.testing.assert_array_equal(model.decode_codes(codes.numpy().astype(np.int64)).mean, model(images))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (
            np.zeros((2, 1, 1), np.int32),
            r"the codes of VectorQuantizer are integers of .* \[b, h, w, 1\]",
        ),
        (np.zeros((2, 1, 1, 1)), "got float64 of the shape"),
        (np.full((2, 1, 1, 1), 5), "VectorQuantizer has codes from 0 to 4, got 5 to 5"),
        (np.full((2, 1, 1, 1), -1), "VectorQuantizer has codes from 0 to 4, got -1 to -1"),
    ],
)
def test_codes_that_are_none_of_the_model_are_refused(codes, message):
    model = small_codes.small()
    model.build((None, *SHAPE))
    with pytest.raises(ConfigurationError, match=message):
        model.decode_codes(codes)


def test_a_model_without_codes_says_so():
    model = VAE(3, **numpy_vae.blocks())
    model.build((None, *SHAPE))
    with pytest.raises(ConfigurationError, match="VAE has no codes: its posterior is GaussianPosterior; set"):
        model.encode_codes(numpy_vae.images(3))


def test_a_posterior_of_vectors_is_refused():
    model = VQVAE(3, **small_codes.blocks() | {"posterior": GaussianPosterior()})
    with pytest.raises(ConfigurationError, match=r"it must return features \[B, F\]; end it with Flatten"):
        model.build((None, *SHAPE))


@pytest.mark.matrix
@pytest.mark.processes
def test_the_whole_contract():
    testing.check_model(small_codes.small, (8, 7, 2))
