"""The FactorVAE against its NumPy twin, and what each of its two losses may move."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_objectives, numpy_vae
from tests.fixtures.noted_calls import noting
from tests.fixtures.small_objectives import NUM_LATENTS, STEP, make_factor_vae, make_model
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE
from vaeflow.models.factor_vae import FactorVAE
from vaeflow.optimizers import Adam
from vaeflow.schedules import LinearSchedule


def terms_of(model, images, step=STEP, training=True):
    with random.keyed(0, "train", step):
        return model.objective(model.forward(tf.constant(images), training=training), step)


def layers_of(model):
    weights = [variable.numpy() for variable in model.discriminator.weights]
    return list(zip(weights[::2], weights[1::2]))


def draws(batch_size, num_permuted):
    """The noise of the latents and the permutations `[D, n]`, in the order in which they are drawn."""
    with random.keyed(0, "train", STEP):
        epsilon = random.normal((batch_size, NUM_LATENTS), "float64").numpy()
        uniform = random.uniform((num_permuted, NUM_LATENTS), "float64", shared=True).numpy()
    return epsilon, np.argsort(uniform, axis=0).T


def twin(model, images, same_batch, num_permuted, gamma=35.0, free_bits=0.0):
    epsilon, permutations = draws(len(images), num_permuted)
    mean, log_variance, latents, outputs = numpy_vae.forward(model, images, epsilon)
    return numpy_objectives.factor_vae(
        numpy_vae.bernoulli_loss(outputs, images),
        mean,
        log_variance,
        latents,
        layers_of(model),
        permutations,
        gamma,
        same_batch,
        free_bits,
    )


def loss_of(terms, group=None):
    chosen = [term for term in terms.values() if term.group == group]
    return sum(float(term.weight) * np.mean(term.value) for term in chosen)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [2, 6, 7])
@pytest.mark.parametrize("same_batch", [False, True])
@pytest.mark.parametrize("free_bits", [0.0, 0.9])
def test_objective(batch_size, same_batch, free_bits):
    model = make_factor_vae(gamma=20, same_batch=same_batch, free_bits=free_bits)
    images = numpy_vae.images(batch_size)
    terms = terms_of(model, images)
    num_permuted = batch_size if same_batch else batch_size // 2
    expected, loss = twin(model, images, same_batch, num_permuted, 20.0, free_bits)
    for name, value in expected.items():
        assert terms[name].value.shape == (batch_size,)
        # TensorFlow's leaky ReLU has a slope of 0.2 in float32.
        assert np.mean(terms[name].value) == pytest.approx(np.mean(value), rel=1e-7), name
    assert loss_of(terms) == pytest.approx(loss, rel=1e-7)
    assert loss_of(terms, "discriminator") == pytest.approx(expected["discriminator_loss"], rel=1e-7)
    if free_bits:
        assert terms["free_bits"].value > 0.01


def test_a_term_is_zero_where_its_position_has_no_part_in_it():
    terms = terms_of(make_factor_vae(), numpy_vae.images(7))
    for name in ("reconstruction_loss", "kl", "total_correlation"):
        values = terms[name].value.numpy()
        assert np.all(values[::2] != 0), name
        assert np.all(values[1::2] == 0), name
    assert np.all(terms["discriminator_loss"].value > 0)


def test_evaluation_takes_all_images_for_both():
    model, images = make_factor_vae(), numpy_vae.images(5)
    terms = terms_of(model, images, training=False)
    expected, loss = twin(model, images, True, 5)
    assert loss_of(terms) == pytest.approx(loss, rel=1e-7)
    assert loss_of(terms, "discriminator") == pytest.approx(expected["discriminator_loss"], rel=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("same_batch", [False, True])
def test_a_discriminator_at_one_half_gives_the_vae(same_batch):
    model, images = make_factor_vae(same_batch=same_batch), numpy_vae.images(6)
    for variable in model.discriminator.logit.weights:
        variable.assign(np.zeros(variable.shape))
    terms = terms_of(model, images)
    vae = make_model(VAE)
    assert len(vae.weights) < len(model.weights)
    for one, other in zip(vae.weights, model.weights):  # The discriminator's come last.
        one.assign(other)
    expected = {name: term.value.numpy() for name, term in terms_of(vae, images).items()}
    if not same_batch:
        expected = {name: value[::2] for name, value in expected.items()}
    assert loss_of(terms) == pytest.approx(sum(value.mean() for value in expected.values()), rel=1e-12)
    assert loss_of(terms, "discriminator") == pytest.approx(np.log(2), rel=1e-12)


@pytest.mark.slow
def test_logits_of_any_size_keep_losses_finite():
    model, images = make_factor_vae(), numpy_vae.images(6)
    for scale in (1e4, -1e8):
        model.discriminator.logit.kernel.assign(scale * np.ones((5, 1)))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(terms_of(model, images)["discriminator_loss"].value)
        assert np.isfinite(loss)
        for gradient in tape.gradient(loss, model.discriminator.trainable_variables):
            assert np.all(np.isfinite(gradient))


def test_each_dimension_is_permuted_by_itself():
    """Over the odd positions, all of them, and anew in each step."""
    model, images = make_factor_vae(), numpy_vae.images(40)
    seen = []
    discriminator = model.discriminator
    discriminator.call = noting(discriminator.call, seen, lambda latents, *_, **__: latents.numpy()[1::2])
    for step in (0, 0, 1):
        with random.keyed(0, "train", step):
            forward = model.forward(tf.constant(images), training=True)
            model.objective(forward, step)
        latents = forward.latents.numpy()[1::2]
        np.testing.assert_array_equal(np.sort(seen[-1], axis=0), np.sort(latents, axis=0))
    sources = [
        [np.flatnonzero(latents[:, d] == value)[0] for value in seen[2][:, d]] for d in range(NUM_LATENTS)
    ]
    assert len({tuple(source) for source in sources}) == NUM_LATENTS
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.any(np.argsort(seen[0], axis=0) != np.argsort(seen[2], axis=0))


def test_the_weight_of_the_total_correlation_may_be_a_schedule():
    model = make_factor_vae(gamma=LinearSchedule(0.0, 10.0, 20))
    terms = terms_of(model, numpy_vae.images(4), step=5)
    assert float(terms["total_correlation"].weight) == 2.5
    assert terms["discriminator_loss"].weight == 1.0


@pytest.mark.slow
def test_the_discriminator_of_the_paper():
    model = FactorVAE(num_latents=10)
    model.build((None, 8, 8, 1))
    kernels = [variable.shape for variable in model.discriminator.weights if len(variable.shape) == 2]
    assert kernels == [(10, 1000), *[(1000, 1000)] * 5, (1000, 1)]
    optimizer = model.parameter_groups()["discriminator"].optimizer
    assert type(optimizer) is Adam
    assert float(optimizer.learning_rate) == pytest.approx(1e-4)
    assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.9)


@pytest.mark.slow
def test_a_batch_without_a_second_half_is_refused():
    with pytest.raises(ConfigurationError, match=r"FactorVAE needs at least 2 images in a batch.*same_batch"):
        terms_of(make_factor_vae(), numpy_vae.images(1))
    assert np.isfinite(loss_of(terms_of(make_factor_vae(same_batch=True), numpy_vae.images(1))))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gamma", -1.0),
        ("discriminator_units", 5),
        ("discriminator_optimizer", keras.optimizers.Adam),
        ("discriminator_gradient_clip_norm", 0),
        ("same_batch", "yes"),
    ],
)
def test_a_faulty_setting_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"`FactorVAE.{setting}` must be"):
        FactorVAE(num_latents=2, **{setting: value})
