"""BetaTCVAE against the NumPy oracle of Eq. 4 of arXiv:1802.04942.

Compared once with pythae 0.1.2 (torch 2.13, float64, equal weights and draws): with
weighted sampling equal (5e-8 relative: pythae keeps constants in float32). With
stratified sampling it differs by 9 %: pythae, like the published code, puts 1/N into the
first column of the weights instead of the diagonal, and one of its rows sums to 1.087.
With its matrix in the oracle the two are equal (8e-9), and with α = β = γ = 1 as well, for
the weights cancel.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_objectives
from tests.fixtures.small_objectives import (
    assert_parts_make_the_whole,
    images,
    loss_of,
    make_model,
    pass_through,
    terms_of,
    terms_of_parts,
)
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, BetaTCVAE
from vaeflow.schedules import LinearSchedule

PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")
N = 500


@pytest.fixture(params=["mws", "mss"])
def estimator(request):
    return request.param


def test_objective(estimator):
    model = make_model(BetaTCVAE, alpha=0.7, beta=5.0, gamma=1.3, estimator=estimator, num_examples=N)
    parameters, latents = pass_through(model, images())
    expected, loss = numpy_objectives.beta_tc_vae(*parameters, latents, N, 0.7, 5.0, 1.3, estimator)
    terms = terms_of(model, images())
    for name, value in expected.items():
        values = terms[name].value
        assert values.shape == (6,)
        result = tf.reduce_mean(values) if name in PARTS else values
        np.testing.assert_allclose(result, value, rtol=1e-10, atol=1e-10, err_msg=name)
    assert loss_of(terms) == pytest.approx(loss, rel=1e-10)
    assert terms["kl"].weight == 0.0


def test_the_parts_sum_to_the_sampled_kl(estimator):
    model = make_model(BetaTCVAE, estimator=estimator, num_examples=N)
    terms = terms_of(model, images())
    (_, mean, log_variance), latents = pass_through(model, images())
    noise = (latents - mean) / np.exp(0.5 * log_variance)
    sampled_kl = 0.5 * np.sum(latents**2 - noise**2 - log_variance, axis=1)
    np.testing.assert_allclose(sum(terms[name].value for name in PARTS), sampled_kl, rtol=1e-10)


@pytest.mark.families
def test_with_weights_of_1_it_is_the_vae_in_expectation(estimator):
    model = make_model(BetaTCVAE, beta=1.0, estimator=estimator, num_examples=N)
    examples = tf.constant(images())

    @tf.function
    def losses(step):
        with random.keyed(0, "train", step):
            terms = model.objective(model.forward(examples), step)
        kl_parts = tf.add_n([terms[name].value for name in PARTS])
        return tf.reduce_mean(kl_parts), tf.reduce_mean(terms["kl"].value)

    sampled, analytic = np.array([losses(tf.constant(step)) for step in range(600)]).T
    standard_error = sampled.std() / np.sqrt(len(sampled))
    assert standard_error < 0.1
    assert abs(sampled.mean() - analytic[0]) < 3 * standard_error
    # And its reconstruction loss is the VAE's.
    vae = make_model(VAE)
    np.testing.assert_array_equal(
        terms_of(vae, images())["reconstruction_loss"].value,
        terms_of(model, images())["reconstruction_loss"].value,
    )


def test_two_replicas_have_their_rows(monkeypatch, estimator):
    model = make_model(BetaTCVAE, estimator=estimator, num_examples=N)
    parts = terms_of_parts(monkeypatch, model, images())
    assert_parts_make_the_whole(parts, terms_of(model, images()))


def test_a_replica_on_its_own(monkeypatch, estimator):
    model = make_model(BetaTCVAE, estimator=estimator, num_examples=N, scope="replica")
    for part, rows in zip(terms_of_parts(monkeypatch, model, images()), (slice(0, 3), slice(3, 6))):
        parameters, latents = pass_through(model, images()[rows], first_position=rows.start)
        _, loss = numpy_objectives.beta_tc_vae(*parameters, latents, N, estimator=estimator)
        assert loss_of(part) == pytest.approx(loss, rel=1e-10)


def gradient_of(**arguments):
    model = make_model(BetaTCVAE, **arguments)
    with tf.GradientTape() as tape:
        terms = terms_of(model, images())
        loss = tf.add_n([term.weight_as("float64") * tf.reduce_mean(term.value) for term in terms.values()])
    return np.concatenate([tf.reshape(g, -1) for g in tape.gradient(loss, model.trainable_variables)])


@pytest.mark.slow
def test_weighted_sampling_without_a_number_of_examples_has_the_same_gradient():
    """`fit` needs no number; the parts are shifted."""
    np.testing.assert_allclose(gradient_of(), gradient_of(num_examples=N), rtol=1e-9, atol=1e-12)
    shifted = terms_of(make_model(BetaTCVAE), images())["mutual_information"].value
    values = terms_of(make_model(BetaTCVAE, num_examples=N), images())["mutual_information"].value
    np.testing.assert_allclose(values - shifted, np.full(6, np.log(N)), rtol=1e-10)


@pytest.mark.slow
def test_stratified_sampling_needs_the_number_of_examples():
    with pytest.raises(
        ConfigurationError, match=r"`BetaTCVAE.num_examples` must be the size.*elsewhere set it"
    ):
        terms_of(make_model(BetaTCVAE, estimator="mss"), images())
    with pytest.raises(ConfigurationError, match=r"must be at least the batch size, 6, .* got 5; lower"):
        terms_of(make_model(BetaTCVAE, estimator="mss", num_examples=5), images())
    terms = terms_of(make_model(BetaTCVAE, estimator="mss", num_examples=6), images())
    assert np.isfinite(loss_of(terms))


def test_weights_may_be_schedules():
    model = make_model(BetaTCVAE, beta=LinearSchedule(0.0, 8.0, 20), kl_weight=LinearSchedule(0.0, 1.0, 10))
    terms = terms_of(model, images(), 5)
    np.testing.assert_allclose([float(terms[name].weight) for name in PARTS], [0.5, 1.0, 0.5], rtol=1e-6)


def test_free_bits_are_those_of_the_analytic_kl():
    model = make_model(BetaTCVAE, free_bits=2.0)
    parameters, _ = pass_through(model, images())
    deficit = numpy_objectives.vae(*parameters, free_bits=2.0)[1] - numpy_objectives.vae(*parameters)[1]
    term = terms_of(model, images())["free_bits"]
    assert deficit > 0.1
    assert term.weight == 1.0
    assert float(term.value) == pytest.approx(deficit, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, "`BetaTCVAE.alpha` must be a number of at least 0, got -1.0"),
        ({"beta": None}, "`BetaTCVAE.beta` must be a number of at least 0, got None"),
        ({"gamma": "1"}, "`BetaTCVAE.gamma` must be a number of at least 0, got '1'"),
        ({"estimator": "mms"}, "`BetaTCVAE.estimator` must be one of 'mws', 'mss'; got 'mms'"),
        ({"num_examples": 0}, "`BetaTCVAE.num_examples` must be a positive integer, got 0"),
    ],
)
def test_faulty_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BetaTCVAE(**arguments)


def test_settings_come_back(tmp_path):
    model = make_model(BetaTCVAE, beta=3.0, estimator="mss")
    model.num_examples = N  # As the Trainer does.
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.beta, again.estimator, again.num_examples) == (3.0, "mss", N)
