"""The conditional VAE: its objective in NumPy, what sees the labels, and what it refuses."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_flows, numpy_vae, small_trainers, tiny_runs
from vaeflow import random
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import ConditionalGaussianPrior, MixturePrior, StandardNormalPrior, VampPrior
from vaeflow.models import ConditionalVAE

SHAPE = (4, 3, 2)
SIZES = (3, 2)
LABELS = np.array([[0, 1], [2, 0], [1, 1], [2, 1], [0, 0]])
ROLES = ("encoder", "decoder", "prior")
SUBSETS = [each for count in (1, 2, 3) for each in itertools.combinations(ROLES, count)]


def make(condition, dtype="float64", **arguments):
    blocks = numpy_vae.blocks(dtype=dtype)
    return ConditionalVAE(list(SIZES), condition, num_latents=3, dtype=dtype, **blocks, **arguments)


def made(condition, **arguments):
    """A built model, whose weights are not their initial zeros."""
    model = make(condition, **arguments)
    model.build((None, *SHAPE))
    numpy_flows.perturb(model, 0.3)
    return model


def vectors(labels):
    """One-hot, in NumPy."""
    return np.concatenate([np.eye(size)[labels[:, i]] for i, size in enumerate(SIZES)], axis=1)


def twin(model, images, labels, noise):
    """−log p(x|z, y) and KL(q(z|x, y) ‖ p(z|y)) per example, in NumPy."""
    w = [np.asarray(value) for value in numpy_vae.weights(model)]
    ones, seen = vectors(labels), images
    if "encoder" in model.condition:
        maps = np.broadcast_to(ones[:, None, None], (*images.shape[:3], ones.shape[1]))
        seen = np.concatenate([images, maps], axis=-1)
    features = np.maximum(seen.reshape(len(seen), -1) @ w[0] + w[1], 0)
    mean, log_variance = features @ w[2] + w[3], features @ w[4] + w[5]
    latents = mean + np.exp(0.5 * log_variance) * noise
    if "decoder" in model.condition:
        latents = np.concatenate([latents, ones], axis=1)
    logits = np.maximum(latents @ w[6] + w[7], 0) @ w[8] + w[9]
    prior_mean = prior_log_variance = np.zeros_like(mean)
    if "prior" in model.condition:
        layers = model.prior.mean, model.prior.log_variance
        prior_mean, prior_log_variance = (numpy_flows.affine(layer, ones) for layer in layers)
    ratio = np.exp(log_variance - prior_log_variance)
    distance = (mean - prior_mean) ** 2 / np.exp(prior_log_variance)
    kl = 0.5 * np.sum(ratio + distance - 1 - np.log(ratio), axis=1)
    return numpy_vae.bernoulli_loss(logits.reshape(images.shape), images), kl


@pytest.mark.slow
@pytest.mark.parametrize("condition", [*SUBSETS[:3], ROLES])
def test_the_objective_is_that_of_its_twin(condition):
    model, images = made(condition), numpy_vae.images(5, SHAPE)
    with random.keyed(0, "train", 2):
        forward = model.forward({"images": tf.constant(images), "labels": tf.constant(LABELS)}, 2)
        terms = model.objective(forward, 2)
    loss, kl = twin(model, images, LABELS, numpy_vae.noise(2, (5, 3)))
    np.testing.assert_allclose(terms["reconstruction_loss"].value, loss, rtol=1e-11)
    np.testing.assert_allclose(terms["kl"].value, kl, rtol=1e-11)
    assert float(terms["kl"].weight) == 1.0


def test_the_prior_may_have_hidden_layers():
    """Against the layers called one by one."""
    model = made(("prior",), prior=ConditionalGaussianPrior((7,), dtype="float64"))
    prior = model.prior.distribution(model, tf.constant(LABELS))
    hidden = np.maximum(numpy_flows.affine(model.prior.hidden[0], vectors(LABELS)), 0)
    np.testing.assert_allclose(prior.mean, numpy_flows.affine(model.prior.mean, hidden), rtol=1e-12)
    expected = numpy_flows.affine(model.prior.log_variance, hidden)
    np.testing.assert_allclose(prior.log_variance, expected, rtol=1e-12)


def test_the_prior_begins_at_the_standard_normal_for_every_label():
    model = make(("prior",))
    model.build((None, *SHAPE))
    prior = model.prior.distribution(model, tf.constant(LABELS))
    assert not np.any(prior.mean)
    assert not np.any(prior.log_variance)


@pytest.mark.slow
@pytest.mark.parametrize("condition", SUBSETS)
def test_the_labels_reach_what_the_condition_names_and_nothing_else(condition):
    model, images = made(condition), numpy_vae.images(5, SHAPE)
    latents = np.random.default_rng(0).normal(size=(5, 3))
    found = []
    for labels in (LABELS, 1 - np.minimum(LABELS, 1)):
        with random.keyed(0, "test", 0):
            drawn = model.sample_latents(5, labels)["z"]
        q, p = model.encode(images, labels).mean, model.decode(latents, labels).mean
        found.append({"encoder": q.numpy(), "decoder": p.numpy(), "prior": drawn.numpy()})
    changed = tuple(role for role in ROLES if not np.array_equal(found[0][role], found[1][role]))
    assert changed == condition


def test_each_factor_matters_and_examples_do_not_mix():
    model, latents = made(("decoder",)), np.zeros((5, 3))
    whole = model.decode(latents, LABELS).mean.numpy()
    for factor in (0, 1):
        other = LABELS.copy()
        other[2, factor] = 0
        differs = (model.decode(latents, other).mean.numpy() != whole).any(axis=(1, 2, 3))
        assert differs.tolist() == [False, False, True, False, False], factor


def test_rows_of_several_samples_keep_the_labels_of_their_example():
    model, images = made(ROLES), numpy_vae.images(5, SHAPE)
    with random.keyed(0, "test", 0):
        many = model.forward({"images": images, "labels": LABELS}, num_samples=3)
    latents = many.latents.numpy().reshape(5, 3, 3)
    for sample in range(3):
        decoded = model.decode(latents[:, sample], LABELS)
        np.testing.assert_allclose(many.log_likelihood[:, sample], decoded.log_prob(images), rtol=1e-12)
    prior = model.prior.distribution(model, np.repeat(LABELS, 3, axis=0))
    np.testing.assert_allclose(many.log_prior, prior.log_prob(many.latents), rtol=1e-12)


def test_one_number_of_classes_is_one_label():
    assert ConditionalVAE(4).label_sizes == (4,)
    assert ConditionalVAE(num_classes=[4, 2]).label_sizes == (4, 2)


def test_the_order_and_repetitions_of_the_condition_do_not_matter():
    assert ConditionalVAE(4, ["prior", "encoder", "prior"]).condition == ("encoder", "prior")


@pytest.mark.parametrize("num_classes", [0, 2.5, "10", None, True, [], [3, 0]])
def test_a_wrong_number_of_classes_is_refused(num_classes):
    with pytest.raises(ValueError, match=r"`ConditionalVAE.num_classes` must"):
        ConditionalVAE(num_classes)


@pytest.mark.parametrize("condition", [(), "prior", None, ("posterior",), 3])
def test_a_wrong_condition_is_refused(condition):
    with pytest.raises(
        ValueError, match=r"`ConditionalVAE.condition` must be .*'encoder', 'decoder', 'prior'"
    ):
        ConditionalVAE(3, condition)


@pytest.mark.parametrize("prior", [StandardNormalPrior, MixturePrior, VampPrior])
def test_a_prior_that_sees_no_labels_is_refused_where_the_condition_names_it(prior):
    with pytest.raises(ConfigurationError, match=f"must see the labels, .* got {prior.__name__}; set it to"):
        ConditionalVAE(3, ("prior",), prior=prior())


def test_a_prior_that_sees_labels_is_refused_where_the_condition_leaves_it_out():
    with pytest.raises(ConfigurationError, match=r"Prior, which sees the labels, .*; add 'prior'"):
        ConditionalVAE(3, prior=ConditionalGaussianPrior())


def test_pseudo_inputs_have_no_labels():
    model = make(("decoder",), prior=VampPrior(4, dtype="float64"))
    model.build((None, *SHAPE))
    forward = model.forward({"images": numpy_vae.images(5, SHAPE), "labels": LABELS})
    with pytest.raises(
        ConfigurationError, match=r"ConditionalVAE would need a label of each; choose another"
    ):
        _ = forward.kl


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "reads 'labels' of each image, and none were given"),
        (LABELS[:, :1], r"of the shape \[b, 2\] as labels, got the shape \(5, 1\)"),
        (LABELS[:4], "got labels of 4 examples, expected those of 5"),
        (LABELS + 1, r"made for labels from 0 to 2 and 0 to 1, got \[1, 2\]"),
        (LABELS - 1, r"made for labels from 0 to 2 and 0 to 1, got \[-1, 0\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    model = made(("encoder", "decoder"))
    for call in (
        lambda: model.encode(numpy_vae.images(5, SHAPE), labels),
        lambda: model.decode(np.zeros((5, 3)), labels),
        lambda: model.sample(5, labels),
        lambda: model({"images": numpy_vae.images(5, SHAPE), "labels": labels}),
    ):
        with pytest.raises(ConfigurationError, match=message):
            call()


def trained_weights(**settings):
    """The weights after five steps, of which two cross an epoch."""
    factors = np.arange(small_trainers.NUM_EXAMPLES)[:, None] % np.array(SIZES)
    split = InMemorySplit(small_trainers.images(), factors)
    with tiny_runs.untraced():
        trainer = small_trainers.make_trainer(split=split, make_model=lambda: make(ROLES), **settings)
        start = small_trainers.weights(trainer)
        for num_steps in (2, 3):
            trainer.train(num_steps)
    return start, small_trainers.weights(trainer)


@pytest.mark.slow
def test_labels_held_on_the_device_and_streamed_give_the_same_bits():
    (start, resident), (_, streamed) = (trained_weights(resident_data=held) for held in (True, False))
    assert all(np.any(one != other) for one, other in zip(start, resident, strict=True))
    for one, other in zip(resident, streamed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_accumulated_gradients_are_those_of_the_whole_batch():
    whole, cut = (trained_weights(gradient_accumulation_steps=count)[1] for count in (1, 2))
    small_trainers.assert_same(whole, cut, 1e-13)
