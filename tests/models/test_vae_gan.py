"""The VAE-GAN against its twin in NumPy, and which loss moves which group."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.small_objectives import BATCH_SIZE, NUM_LATENTS, STEP, images, make_model, terms_of
from vaeflow import random
from vaeflow.errors import ConfigurationError
from vaeflow.layers import Adversary, FeatureDiscriminator, Layer, PatchDiscriminator
from vaeflow.models import VAEGAN
from vaeflow.models.terms import losses_by_group
from vaeflow.optimizers import gradients_of


class LinearDiscriminator(Layer):
    """Features that are a linear map of the pixels, and a logit that is one of the features."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten = keras.layers.Flatten(data_format="channels_last", dtype=self.dtype_policy)
        self.map, self.logit = (keras.layers.Dense(count, dtype=self.dtype_policy) for count in (4, 1))

    def build(self, input_shape):
        self.map.build((None, int(np.prod(input_shape[1:]))))
        self.logit.build((None, 4))

    def features(self, examples, training=None):
        return self.map(self.flatten(examples))

    def logits(self, features, training=None):
        return self.logit(features)

    def call(self, examples, training=None):
        return self.logits(self.features(examples))


def made(**arguments):
    discriminator = LinearDiscriminator(dtype="float64")
    adversary = Adversary(discriminator, loss="non_saturating", adaptive=False, weight=0.9, dtype="float64")
    return make_model(VAEGAN, adversary=adversary, **arguments)


def twin(model, examples):
    with random.keyed(0, "train", STEP):
        noise, of_prior = (random.normal((BATCH_SIZE, NUM_LATENTS), "float64").numpy() for _ in range(2))
    mean, log_variance, _, outputs = numpy_vae.forward(model, examples, noise)
    w = [np.asarray(value) for value in numpy_vae.weights(model)]
    from_prior = (np.maximum(of_prior @ w[6] + w[7], 0) @ w[8] + w[9]).reshape(examples.shape)
    discriminator = model.adversary.discriminator
    features = [
        np.asarray(each).reshape(BATCH_SIZE, -1) @ discriminator.map.kernel.numpy()
        + discriminator.map.bias.numpy()
        for each in (examples, numpy_vae.sigmoid(outputs), numpy_vae.sigmoid(from_prior))
    ]
    kernel, bias = (weight.numpy() for weight in discriminator.logit.weights)
    d = [numpy_vae.sigmoid(each @ kernel + bias)[:, 0] for each in features]
    return {
        "kl": numpy_vae.kl(mean, log_variance),
        "feature_loss": 0.5 * np.sum((features[0] - features[1]) ** 2, axis=1),
        "adversarial_loss": -0.5 * np.log(d[1]) - 0.5 * np.log(d[2]),
        "discriminator_loss": -0.5 * (np.log(d[0]) + 0.5 * np.log(1 - d[1]) + 0.5 * np.log(1 - d[2])),
    }


def test_the_objective_is_that_of_its_twin():
    model = made(feature_weight=0.2)
    terms, expected = terms_of(model, images()), twin(model, images())
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name].value, value, rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(terms["feature_loss"].value, terms["feature_loss_of_decoder"].value)
    of_group = {name: (term.group, float(term.weight)) for name, term in terms.items()}
    assert of_group == {
        "kl": (None, 1.0),
        "feature_loss": (None, 1.0),
        "feature_loss_of_decoder": ("decoder", 0.2),
        "adversarial_loss": ("decoder", pytest.approx(0.9)),
        "discriminator_loss": ("discriminator", 1.0),
    }


@pytest.mark.families
def test_each_group_has_its_own_loss_and_variables():
    """By differences of one number of each variable, of the loss of its own group."""
    model = made(feature_weight=0.2)
    groups = model.all_parameter_groups(keras.optimizers.SGD(0.1))
    assert list(groups) == [None, "decoder", "discriminator"]
    assert sum(len(group.variables) for group in groups.values()) == len(model.trainable_variables)

    def losses():
        terms = terms_of(model, images())
        return losses_by_group(terms, {name: tf.reduce_mean(term.value) for name, term in terms.items()})

    with tf.GradientTape(persistent=True) as tape:
        of_groups = losses()
    for (name, group), gradients in zip(
        groups.items(), gradients_of(tape, of_groups, groups, {}), strict=True
    ):
        for variable, gradient in zip(group.variables, gradients, strict=True):
            start, moved = variable.numpy(), []
            for sign in (1, -1):
                changed = start.copy()
                changed.flat[0] += sign * 1e-6
                variable.assign(changed)
                moved.append(float(losses()[name]))
            variable.assign(start)
            expected = (moved[0] - moved[1]) / 2e-6
            assert gradient.numpy().flat[0] == pytest.approx(expected, rel=1e-4, abs=1e-8), variable.path


@pytest.mark.families
def test_the_features_of_an_image_depend_on_it_alone():
    discriminator = FeatureDiscriminator((4, 6, 8), (5,))
    examples = numpy_vae.images(3, (8, 7, 2)).astype(np.float32)
    discriminator.build(examples.shape)
    features = discriminator.features(examples)
    assert features.shape == (3, 2, 2, 8)
    np.testing.assert_array_equal(discriminator(examples), discriminator.logits(features))
    np.testing.assert_allclose(discriminator.features(examples[1:2])[0], features[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("adversary", "message"),
    [
        (lambda: Adversary, r"`VAEGAN.adversary` must be of the kind Adversary.*parentheses"),
        (
            lambda: Adversary(PatchDiscriminator((4,)), adaptive=False),
            r"`Adversary.discriminator` is a PatchDiscriminator, .*@FeatureDiscriminator\(\)",
        ),
        (
            lambda: Adversary(FeatureDiscriminator((4,))),
            "`Adversary.adaptive` must be False for a VAEGAN, got True",
        ),
        (
            lambda: Adversary(FeatureDiscriminator((4,)), adaptive=False, lecam_weight=1.0),
            "`Adversary.lecam_weight` must be 0.0 for a VAEGAN, got 1.0",
        ),
    ],
)
def test_an_adversary_that_does_not_fit_is_refused(adversary, message):
    with pytest.raises(ConfigurationError, match=message):
        VAEGAN(adversary=adversary())


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"`VAEGAN.feature_weight` must be a number of at least 0"):
        VAEGAN(feature_weight=-1)
