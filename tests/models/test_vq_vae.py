"""The VQ-VAE: a step of training written out in NumPy, and where its codebook is updated."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae, small_codes, tiny_runs
from tests.fixtures.noted_calls import note_batch_sizes
from tests.fixtures.replica_steps import stored
from tests.fixtures.small_trainers import assert_same, make_trainer, weights
from vaeflow import testing
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.order import ExampleOrder
from vaeflow.devices import cores
from vaeflow.errors import ConfigurationError
from vaeflow.layers import GaussianPosterior
from vaeflow.models import VAE, VQVAE
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

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


# Those that the default suite trains; the others differ from them by what their own tests hold.
FEW = ("averages", "residual, apart")
SUMMED = [
    pytest.param(name, marks=() if name in FEW else pytest.mark.families)
    for name in small_codes.QUANTIZERS
    if name != "bits"
]


def quantized_trainer(name, **settings):
    split = InMemorySplit(PIXELS)
    return make_trainer(
        sgd,
        split,
        lambda: small_codes.pointwise(posterior=small_codes.QUANTIZERS[name]()),
        batch_size=6,
        **settings,
    )


@pytest.mark.parametrize("name", SUMMED)
def test_accumulated_every_quantizer_is_that_of_the_whole_batch(untraced, name):
    """Codes that begin anew, too."""
    whole, accumulated = (quantized_trainer(name, gradient_accumulation_steps=count) for count in (1, 3))
    for trainer in (whole, accumulated):
        report = trainer.train_and_report(4)
        assert report.get("codes/restarted", 1) > 0
    assert_same(weights(accumulated), weights(whole), 1e-10)


def test_an_entropy_of_the_whole_batch_is_not_taken_of_parts():
    with pytest.raises(ConfigurationError, match="its term 'mean_code_entropy' couples the whole batch"):
        quantized_trainer("bits", gradient_accumulation_steps=2)


@pytest.mark.parametrize("name", [pytest.param("gradient", marks=pytest.mark.families), "residual, apart"])
def test_an_average_of_the_weights_has_the_average_of_embeddings_that_a_gradient_moves(untraced, name):
    trainer = quantized_trainer(name, ema_decay=0.3)
    codebooks = trainer.model.posterior.codebooks
    expected = [each.embeddings().numpy() for each in codebooks]
    for step in range(1, 5):
        trainer.train(1)
        decay = min(0.3, (1 + step) / (10 + step))
        now = [each.embeddings().numpy() for each in codebooks]
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, now, strict=True)]
    assert any(np.any(each.moved) for each in codebooks)
    with trainer.averaged_weights():
        assert_same([each.embeddings().numpy() for each in codebooks], expected, 1e-12)


@pytest.mark.parametrize("name", ["averages", "residual"])
def test_an_evaluation_counts_the_codes_of_the_whole_split(untraced, name):
    """In batches of 5 the last of which is filled up."""
    trainer = quantized_trainer(name)
    results = Evaluator(Examples(trainer.model, InMemorySplit(PIXELS), trainer.strategy, 5)).evaluate()
    codes = trainer.model.encode_codes(PIXELS / 255).numpy().reshape(12 * 12, -1)
    for group, size in enumerate(trainer.model.posterior.code_sizes):
        times = np.bincount(codes[:, group], minlength=size)
        frequencies = times[times > 0] / len(codes)
        suffix = f"/{group:02d}" if codes.shape[1] > 1 else ""
        perplexity = np.exp(-np.sum(frequencies * np.log(frequencies)))
        assert results[f"codes/perplexity{suffix}"] == pytest.approx(perplexity, rel=1e-12)
        assert results[f"codes/usage{suffix}"] == np.mean(times > 0)
        assert results[f"codes/dead{suffix}"] == np.sum(times == 0)


@pytest.mark.families
@pytest.mark.parametrize("name", small_codes.QUANTIZERS)
def test_fit_trains_every_quantizer(name):
    keras.utils.set_random_seed(0)
    model = small_codes.pointwise(posterior=small_codes.QUANTIZERS[name]())
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    history = model.fit((PIXELS / 255).astype("float32"), batch_size=6, epochs=3, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    for codebook in getattr(model.posterior, "codebooks", ()):
        assert np.any(codebook.counts != 1.0)


@pytest.mark.families
@pytest.mark.parametrize("name", ["averages", "bits"])
def test_compiled_and_streamed_it_trains_alike(name):
    found = []
    for settings in ({}, {"compile_mode": "loop"}, {"resident_data": False}, {"compile_mode": "step"}):
        trainer = quantized_trainer(name, **settings)
        trainer.train(3)
        found.append(weights(trainer))
    for one in found[1:]:
        assert_same(one, found[0])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "residual" else pytest.mark.families)
        for name in small_codes.QUANTIZERS
    ],
)
def test_parts_side_by_side_add_up(monkeypatch, name):
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    keras.utils.set_random_seed(0)
    model = small_codes.small(small_codes.QUANTIZERS[name]())
    model.build((None, *SHAPE))
    settings = TrainingSettings(batch_size=12)
    step = ReplicaStep(model, keras.optimizers.SGD(0.1), InMemorySplit(PIXELS), settings)
    whole = step.compute(stored(tf.constant(PIXELS)), 3)
    step.use_cores(3, step.probe({"images": tf.constant(PIXELS)}))
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = note_batch_sizes(model.encoder)
    cut = step.compute(stored(tf.constant(PIXELS)), 3)
    assert sizes == [4, 4, 4]
    assert cut.metrics.keys() == whole.metrics.keys()
    for one, other in zip(*map(tf.nest.flatten, (cut, whole)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def codebook(model):
    return [variable.numpy() for variable in model.posterior.non_trainable_variables]


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


def test_an_average_of_the_weights_has_the_average_of_the_codebook(untraced):
    trainer = pointwise_trainer(ema_decay=0.3)
    expected = trainer.model.posterior.codebooks[0].codebook.numpy()
    for step in range(1, 4):
        trainer.train(1)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.model.posterior.codebooks[0].codebook.numpy()
    with trainer.averaged_weights():
        np.testing.assert_allclose(trainer.model.posterior.codebooks[0].codebook, expected, rtol=1e-12)


def test_the_negative_elbo_has_a_constant_kl_and_no_likelihood(untraced):
    trainer = pointwise_trainer()
    results = Evaluator(Examples(trainer.model, InMemorySplit(PIXELS), trainer.strategy, 6)).evaluate()
    assert results["kl"] == pytest.approx(12 * np.log(4))
    assert results["negative_elbo"] == pytest.approx(results["reconstruction_loss"] + results["kl"])
    assert "active_units" not in results
    with pytest.raises(ConfigurationError, match="importance weights need densities, and CodePoint or"):
        _ = trainer.model.forward(tf.constant(PIXELS / 255)).log_weight


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


@pytest.mark.families
@pytest.mark.processes
def test_the_whole_contract():
    testing.check_model(small_codes.small, (8, 7, 2))
