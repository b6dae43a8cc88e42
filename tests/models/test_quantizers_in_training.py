"""Every quantizer in training: accumulated, in parts, compiled, with `fit`; and what an evaluation counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import small_codes, tiny_runs
from tests.fixtures.noted_calls import note_batch_sizes
from tests.fixtures.replica_steps import stored
from tests.fixtures.small_trainers import assert_same, make_trainer, weights
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import InMemorySplit
from vaeflow.devices import cores
from vaeflow.errors import ConfigurationError
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

SHAPE = (4, 3, 2)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE)).astype(np.uint8)


@pytest.fixture
def untraced():
    with tiny_runs.untraced():
        yield


def sgd():
    return keras.optimizers.SGD(0.01)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    # Once where one trace serves all parts.
    assert set(sizes) == {4}
    assert cut.metrics.keys() == whole.metrics.keys()
    for one, other in zip(*map(tf.nest.flatten, (cut, whole)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
