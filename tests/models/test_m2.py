"""M2 against a twin in NumPy that goes through the classes one by one, and labels that are not known."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows, numpy_vae
from vaeflow import random
from vaeflow.distributions import ClassVector
from vaeflow.errors import ConfigurationError
from vaeflow.layers import DenseEncoder
from vaeflow.models import M2

SHAPE, K, D, STEP = (4, 3, 2), 3, 2, 7
IMAGES = numpy_vae.images(5, SHAPE)
LABELS = np.array([[0], [3], [2], [3], [1]])  # 3 is not known.


def made(**arguments):
    keras.utils.set_random_seed(0)
    blocks = numpy_vae.blocks(dtype="float64") | {"classifier": DenseEncoder((5,), dtype="float64")}
    model = M2(K, num_latents=D, dtype="float64", **blocks, **arguments)
    model.build((None, *SHAPE))
    numpy_flows.perturb(model, 0.3)
    return model


def log_q_of(model, images):
    hidden = np.maximum(numpy_flows.affine(model.classifier.blocks[1], images.reshape(len(images), -1)), 0)
    logits = numpy_flows.affine(model.logits, hidden)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def noise_of_classes(count, num_draws_before=0):
    """Of a draw of y, which the labels decide, and one of z, with a row for each class."""
    with random.keyed(0, "train", STEP):
        for _ in range(num_draws_before):
            random.uniform((count, 1), "float64")
        random.uniform((count * K, 1), "float64")
        return random.normal((count * K, D), "float64").numpy().reshape(count, K, D)


def bounds_of_classes(model, images, noise):
    """−log p(x|y, z) and KL(q(z|x, y) ‖ p(z)) of each image and class, `[b, K]`."""
    w = [np.asarray(value) for value in numpy_vae.weights(model)]
    losses, kls = [], []
    for y in range(K):
        vectors = np.broadcast_to(np.eye(K)[y], (*images.shape[:3], K))
        seen = np.concatenate([images, vectors], axis=-1).reshape(len(images), -1)
        features = np.maximum(seen @ w[0] + w[1], 0)
        mean, log_variance = features @ w[2] + w[3], features @ w[4] + w[5]
        latents = mean + np.exp(0.5 * log_variance) * noise[:, y]
        latents = np.concatenate([latents, np.tile(np.eye(K)[y], (len(images), 1))], axis=1)
        outputs = np.maximum(latents @ w[6] + w[7], 0) @ w[8] + w[9]
        losses.append(numpy_vae.bernoulli_loss(outputs.reshape(images.shape), images))
        kls.append(numpy_vae.kl(mean, log_variance))
    return np.stack(losses, axis=1), np.stack(kls, axis=1)


def terms_of(model, images, labels, training=True):
    batch = {"images": tf.constant(images), "labels": tf.constant(labels)}
    with random.keyed(0, "train", STEP):
        return model.objective(model.forward(batch, STEP, training=training), STEP)


def test_the_objective_is_that_of_its_twin():
    model = made(classification_weight=4.0, kl_weight=0.5)
    log_q = log_q_of(model, IMAGES)
    losses, kls = bounds_of_classes(model, IMAGES, noise_of_classes(5))
    expected = {"reconstruction_loss": [], "kl": [], "kl_of_class": [], "classification_loss": []}
    for i, (label,) in enumerate(LABELS):
        if label < K:  # Eq. 6 and 9.
            values = losses[i, label], kls[i, label], math.log(K), -log_q[i, label]
        else:  # Eq. 7.
            q = np.exp(log_q[i])
            values = q @ losses[i], q @ kls[i], q @ (log_q[i] + math.log(K)), 0.0
        for name, value in zip(expected, values, strict=True):
            expected[name].append(value)
    terms = terms_of(model, IMAGES, LABELS)
    assert list(terms) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(terms[name].value, values, rtol=1e-10, atol=1e-14, err_msg=name)
    assert [float(term.weight) for term in terms.values()] == [1.0, 0.5, 1.0, 4.0]


@pytest.mark.families
def test_free_bits_weigh_the_classes():
    model = made(free_bits=5.0)
    terms = terms_of(model, IMAGES, LABELS)
    # Above every KL: λ times the number of latents less the KL itself.
    assert float(terms["free_bits"].value) == pytest.approx(5.0 * D - np.mean(terms["kl"].value), rel=1e-10)


@pytest.mark.families
def test_the_classifier_learns_from_images_without_labels():
    model = made()
    with tf.GradientTape() as tape:
        terms = terms_of(model, IMAGES, np.full((5, 1), K))
        loss = tf.add_n([tf.reduce_mean(term.value) for term in terms.values()])
    for gradient in tape.gradient(loss, model.classifier.trainable_variables):
        assert np.any(gradient)


@pytest.mark.families
def test_evaluation_reports_the_accuracy_and_the_bound_without_the_label():
    model = made()
    labels = np.array([[0], [1], [2], [0], [1]])
    log_q = log_q_of(model, IMAGES)
    with random.keyed(0, "train", STEP):
        found = model.evaluated(model.forward({"images": IMAGES, "labels": labels}))
    # The pass itself draws y and z before.
    losses, kls = bounds_of_classes(model, IMAGES, noise_of_classes(5, 2))
    q = np.exp(log_q)
    np.testing.assert_array_equal(found["accuracy"], np.argmax(log_q, axis=1) == labels[:, 0])
    np.testing.assert_allclose(found["classification_loss"], -log_q[np.arange(5), labels[:, 0]], rtol=1e-10)
    bound = np.sum(q * (losses + kls + math.log(K) + log_q), axis=1)
    np.testing.assert_allclose(found["negative_elbo_without_label"], bound, rtol=1e-10)
    assert model.selection_score({"accuracy": 0.75}) == 0.25


@pytest.mark.families
def test_a_known_label_is_a_condition_and_an_unknown_one_is_drawn():
    model, count = made(), 4000
    many = np.repeat(IMAGES[:1], count, axis=0)
    with random.keyed(0, "test", 0):
        known = model.forward({"images": many[:3], "labels": [[0], [1], [2]]})
        unknown = model.forward({"images": many, "labels": np.full((count, 1), K)})
        sampled = model.sample_latents(count, np.full((count, 1), K))["y"].numpy()
    np.testing.assert_array_equal(known.draws["y"].value, np.eye(3))
    np.testing.assert_allclose(known.draws["y"].kl, 0, atol=1e-12)
    q = np.exp(log_q_of(model, many[:1]))[0]
    for rows, shares in ((unknown.draws["y"].value.numpy(), q), (sampled, np.full(K, 1 / K))):
        errors = np.sqrt(shares * (1 - shares) / count)
        assert np.all(np.abs(rows.mean(axis=0) - shares) < 4 * errors)
    np.testing.assert_allclose(unknown.draws["y"].kl[:, 0], q @ np.log(q * K), rtol=1e-10)


def test_a_class_has_its_probability():
    logits = tf.math.log([[0.5, 0.3, 0.2]])
    one = ClassVector(logits)
    np.testing.assert_array_equal(one.center, [[1, 0, 0]])
    np.testing.assert_allclose(one.log_prob(tf.eye(3)[1:2]), math.log(0.3), rtol=1e-6)
    uniform = ClassVector(tf.zeros((1, 3)))
    entropy = -sum(p * math.log(p) for p in (0.5, 0.3, 0.2))
    np.testing.assert_allclose(one.kl(uniform), [[math.log(3) - entropy]], rtol=1e-5)
    with pytest.raises(ValueError, match="rows of its own"):
        one.draw(3)


@pytest.mark.parametrize("num_classes", [0, "ten", [3, 2], None])
def test_a_wrong_number_of_classes_is_refused(num_classes):
    with pytest.raises((ValueError, ConfigurationError), match=r"`M2.num_classes` must be"):
        M2(num_classes)


def test_faulty_settings_are_refused():
    with pytest.raises(ValueError, match=r"`M2.classification_weight` must be a number of at least 0"):
        M2(3, classification_weight=-1)
    with pytest.raises(ValueError, match=r"`M2.classifier` must be a Keras layer,.*parentheses"):
        M2(3, classifier=DenseEncoder)
