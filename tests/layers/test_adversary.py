"""The losses of an adversary against NumPy, and when they begin."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.layers import Adversary, Decoder, PatchDiscriminator
from vaeflow.layers.adversary import ADVERSARIAL, DISCRIMINATOR

GENERATOR = np.random.default_rng(0)
REAL, FAKE = 2 * GENERATOR.normal(size=(2, 5, 6))


def built(**arguments):
    adversary = Adversary(keras.layers.Dense(1, dtype="float64"), dtype="float64", **arguments)
    adversary.build((None, 3, 2, 1))
    return adversary


def terms_of(adversary, step=0):
    return adversary.terms(tf.constant(REAL), tf.constant(FAKE), step)


def softplus(x):
    return np.log(1 + np.exp(x))


@pytest.mark.parametrize(
    ("loss", "mistakes", "deceit"),
    [
        ("hinge", np.maximum(0, 1 - REAL) + np.maximum(0, 1 + FAKE), -FAKE),
        ("non_saturating", softplus(-REAL) + softplus(FAKE), softplus(-FAKE)),
    ],
)
def test_the_losses(loss, mistakes, deceit):
    terms = terms_of(built(loss=loss))
    np.testing.assert_allclose(terms["discriminator_loss"].value, 0.5 * mistakes.mean(1), rtol=1e-12)
    np.testing.assert_allclose(terms["adversarial_loss"].value, deceit.mean(1), rtol=1e-12)
    assert terms["discriminator_loss"].group == DISCRIMINATOR
    assert float(terms["discriminator_loss"].weight) == 1.0
    assert "lecam" not in terms


def test_lecam_measures_from_the_averages_of_the_other_kind():
    adversary = built(lecam_weight=0.3)
    adversary.real_average.assign(0.7)
    adversary.fake_average.assign(-0.4)
    term = terms_of(adversary)["lecam"]
    expected = ((REAL + 0.4) ** 2 + (FAKE - 0.7) ** 2).mean(1)
    np.testing.assert_allclose(term.value, expected, rtol=1e-12)
    assert (float(term.weight), term.group) == (0.3, DISCRIMINATOR)


def test_the_averages_follow_the_means_of_the_global_batch():
    adversary = built(lecam_weight=0.3, lecam_decay=0.9)
    adversary.real_average.assign(2.0)
    parts = [
        adversary.updates(tf.constant(REAL[rows]), tf.constant(FAKE[rows]))["lecam"]
        for rows in (slice(2), slice(2, None))
    ]
    sums = tf.nest.map_structure(lambda *each: tf.add_n(each), *(part.statistics for part in parts))
    (real, new_real), (fake, new_fake) = parts[0].new_values(sums)
    assert (real, fake) == (adversary.real_average, adversary.fake_average)
    assert float(new_real) == pytest.approx(0.9 * 2.0 + 0.1 * REAL.mean(), rel=1e-12)
    assert float(new_fake) == pytest.approx(0.1 * FAKE.mean(), rel=1e-12)


def test_without_lecam_nothing_is_averaged():
    adversary = built()
    assert adversary.updates(tf.constant(REAL), tf.constant(FAKE)) == {}
    assert adversary.non_trainable_variables == []


@pytest.mark.parametrize(("adaptive", "group", "weight"), [(True, ADVERSARIAL, 1.0), (False, None, 0.3)])
def test_the_model_s_loss_is_off_before_the_first_step(adaptive, group, weight):
    adversary = built(adaptive=adaptive, weight=0.3, first_step=7)
    weights = [
        float(terms_of(adversary, tf.constant(step, tf.int64))["adversarial_loss"].weight) for step in (6, 7)
    ]
    assert weights == [0.0, weight]
    assert terms_of(adversary)["adversarial_loss"].group == group


def test_the_discriminator_begins_and_keeps_time_as_it_is_told():
    optimizer = keras.optimizers.SGD(0.1)
    group = built(first_step=7, every=3, optimizer=optimizer, gradient_clip_norm=2.0).parameter_group()
    assert (group.first_step, group.every, group.gradient_clip_norm) == (7, 3, 2.0)
    assert group.optimizer is optimizer
    assert len(group.variables) == 2


@pytest.mark.parametrize(
    ("own", "adversarial", "expected"),
    [
        ([3.0, 4.0], [0.0, 2.0], 0.8 * 5.0 / (2.0 + 1e-6)),
        ([3.0, 4.0], [0.0, 1e-7], 0.8 * 1e4),  # Clipped: the ratio is above 4,500,000.
        ([3.0, 4.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 2.0], 0.0),
    ],
)
def test_the_adaptive_weight_is_the_ratio_of_norms_at_the_last_kernel(own, adversarial, expected):
    adversary = built(weight=0.8)
    kernel, bias = (keras.Variable(np.zeros(2)) for _ in range(2))
    joined = adversary.joined_loss(kernel, [bias, kernel])
    other = tf.constant([100.0, 7.0], tf.float64)
    found = joined.weight(
        [other, tf.constant(own, tf.float64)], [other, tf.constant(adversarial, tf.float64)]
    )
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert joined.into is None


def test_a_last_kernel_that_is_not_trained_is_refused():
    kernel, bias = (keras.Variable(np.zeros(2), name=name) for name in ("kernel", "bias"))
    with pytest.raises(
        ConfigurationError, match=r"last layer, kernel, which is not trained; train it, or set"
    ):
        built().joined_loss(kernel, [bias])


def test_a_decoder_that_does_not_say_its_last_kernel_is_refused():
    class Own(Decoder):
        """Says nothing."""

    with pytest.raises(
        ConfigurationError, match=r"last_kernel.*must be the kernel of the layer that outputs"
    ):
        _ = Own().last_kernel


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": "wasserstein"}, ValueError, "`Adversary.loss` must be one of 'hinge', 'non_saturating'"),
        ({"first_step": -1}, ValueError, "`Adversary.first_step` must be"),
        ({"every": 0}, ValueError, "`Adversary.every` must be a positive integer"),
        ({"weight": -1.0}, ValueError, "`Adversary.weight` must be a number of at least 0"),
        ({"lecam_decay": 1.0}, ValueError, "`Adversary.lecam_decay` must be a number in"),
        ({"optimizer": keras.optimizers.Adam}, ConfigurationError, "`Adversary.optimizer` must be a Keras"),
    ],
)
def test_faulty_settings_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        built(**arguments)


@pytest.mark.slow
def test_the_default_discriminator_has_the_filters_and_the_patches_of_the_paper():
    """C64-C128-C256-C512 and a last convolution, of which a logit sees 70x70 pixels."""
    discriminator = PatchDiscriminator(normalization=None)
    image = tf.Variable(tf.random.stateless_uniform((1, 128, 128, 3), (0, 1)))
    with tf.GradientTape() as tape:
        logits = discriminator(image)
        logit = logits[0, 8, 8]
    seen = np.any(tape.gradient(logit, image).numpy() != 0, axis=(0, 3))
    assert logits.shape == (1, 16, 16)
    assert (seen.any(1).sum(), seen.any(0).sum()) == (70, 70)
    kernels = [tuple(each.shape) for each in discriminator.weights if len(each.shape) == 4]
    assert kernels == [(4, 4, 3, 64), (4, 4, 64, 128), (4, 4, 128, 256), (4, 4, 256, 512), (4, 4, 512, 1)]
    assert np.std(discriminator.weights[6]) == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize("normalization", ["group", "layer"])
def test_the_logits_of_an_image_do_not_depend_on_its_batch(normalization):
    images = np.random.default_rng(1).random((4, 8, 7, 2))
    discriminator = PatchDiscriminator((4, 6), normalization, dtype="float64")
    alone = np.concatenate([discriminator(image[None], training=True) for image in images])
    np.testing.assert_allclose(discriminator(images, training=True), alone, rtol=1e-10)


def test_images_are_scaled_to_minus_one_to_one():
    """An image in the middle of the range gives the logits of one that is 0 everywhere: the biases'."""
    discriminator = PatchDiscriminator((4,), dtype="float64")
    np.testing.assert_allclose(discriminator(np.full((1, 4, 4, 1), 0.5)), 0.0, atol=1e-15)
    assert np.abs(discriminator(np.full((1, 4, 4, 1), 1.0))).max() > 1e-4
