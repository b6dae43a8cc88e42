"""Comparisons of features against a computation over the whole split, whatever the batches."""

import functools

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from tests.fixtures import frozen_nets, tiny_runs
from vaeflow import random
from vaeflow.analysis.examples import Examples
from vaeflow.analysis.feature_comparison import FeatureComparison
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.layers import DenseDecoder, DenseEncoder, FeatureNet
from vaeflow.metrics import FeatureMetric, FrechetDistance, KernelDistance, PrecisionRecall
from vaeflow.models import VAE, ConditionalVAE

COUNT = 17
SEED = 3


class Kept(FeatureMetric):
    """Keeps what it was given to compare."""

    def compare(self, real, other, seed):
        self.sets = [*getattr(self, "sets", []), (real.array, other.array)]
        return {"kept": 0.0}


@pytest.fixture(autouse=True)
def plain_python():
    with tiny_runs.untraced():
        yield


@pytest.fixture
def path(tmp_path):
    frozen_nets.save(tmp_path / "net.keras", tiny_runs.SHAPE, 0, keras.layers.Dense(4, "tanh", name="dense"))
    return tmp_path / "net.keras"


def net(path, **arguments):
    return FeatureNet(str(path), dtype="float64", **arguments)


def examples(batch_size=6, make=VAE, num_examples=None, **split):
    """A model in float64 and 17 images."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float64")
    blocks = {"encoder": DenseEncoder(units=(8,)), "decoder": DenseDecoder(units=(8,))}
    model = make(num_latents=2, **blocks)
    model.build((None, *tiny_runs.SHAPE))
    keras.config.set_dtype_policy("float32")
    loaded = InMemorySplit(tiny_runs.images(COUNT), **split)
    strategy = tf.distribute.get_strategy()
    return Examples(model, loaded, strategy, batch_size, SEED).spread(num_examples)


def measured(given, *metrics):
    return FeatureComparison(given, metrics).measure()


def expected_features(given, path, num_samples=COUNT):
    """Images, reconstructions and samples, each through the net in one batch."""
    whole = keras.saving.load_model(path)
    kernel, bias = (weight.numpy().astype("float64") for weight in whole.weights)
    model = given.model
    images = given.split.array[given.indices] / 255.0
    with random.keyed(SEED, "samples", 0):
        latents = random.normal((num_samples, 2), "float64")
    made = [model(tf.constant(images)).numpy(), model.decode(latents).mean.numpy()]
    return [np.tanh(each.reshape(len(each), -1) @ kernel + bias) for each in (images, *made)]


def scipy_distance(one, other):
    covariances = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    means = np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2)
    return means + np.trace(covariances[0] + covariances[1] - 2 * root.real)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 6, 40])
def test_the_features_are_those_of_the_whole_split_at_once(path, batch_size):
    metric = Kept(net(path))
    given = examples(batch_size)
    measured(given, metric)
    images, reconstructions, samples = expected_features(given, path)
    (real, first), (again, second) = metric.sets
    np.testing.assert_allclose(real, images, rtol=1e-12)
    np.testing.assert_array_equal(again, real)
    np.testing.assert_allclose(first, reconstructions, rtol=1e-12)
    np.testing.assert_allclose(second, samples, rtol=1e-12)


@pytest.mark.long
def test_distances_do_not_depend_on_the_batch_size(path):
    def results(batch_size):
        shared = net(path)
        metrics = FrechetDistance(shared), KernelDistance(net=shared), PrecisionRecall(net=shared)
        return measured(examples(batch_size), *metrics)

    one = results(17)
    label = f"none,net={net_label(path)}"
    assert list(one) == [
        *(f"{name}[{label}]" for name in ("rfid", "gfid", "rkid", "gkid")),
        *(f"{name}[{label},k=3]" for name in ("rprecision", "rrecall", "gprecision", "grecall")),
    ]
    assert results(5) == pytest.approx(one, rel=1e-9)
    images, reconstructions, samples = expected_features(examples(), path)
    assert one[f"rfid[{label}]"] == pytest.approx(scipy_distance(images, reconstructions), rel=1e-8)
    assert one[f"gfid[{label}]"] == pytest.approx(scipy_distance(images, samples), rel=1e-8)


def net_label(path):
    made = net(path)
    made.build((None, *tiny_runs.SHAPE))
    return made.sha256[:12]


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [9, 30])
def test_other_numbers_of_samples(path, num_samples):
    metric = Kept(net(path), of="samples", num_samples=num_samples)
    given = examples()
    results = measured(given, metric)
    assert list(results) == [f"gkept[none,net={net_label(path)},samples={num_samples}]"]
    _, samples = metric.sets[0]
    np.testing.assert_allclose(samples, expected_features(given, path, num_samples)[2], rtol=1e-12)


def test_some_of_the_images(path):
    metric = Kept(net(path))
    given = examples(num_examples=5)
    measured(given, metric)
    images, _, samples = expected_features(given, path, 5)
    np.testing.assert_allclose(metric.sets[0][0], images, rtol=1e-12)
    np.testing.assert_allclose(metric.sets[1][1], samples, rtol=1e-12)


@pytest.mark.slow
def test_metrics_with_equal_nets_share_the_features(path):
    """Two metrics of one net, one of another: the images pass two nets."""
    metrics = (
        Kept(net(path)),
        FrechetDistance(net(path)),
        FrechetDistance(net(path, pixel_range=(-1, 1)), "samples"),
    )
    comparison = FeatureComparison(examples(), metrics)
    assert [each["pixel_range"] for each in comparison.nets] == [[0.0, 1.0], [-1.0, 1.0]]
    calls = []
    for group in comparison._groups:
        call = group.net.call
        group.net.call = lambda images, call=call: calls.append(len(images)) or call(images)
    with pytest.raises(ConfigurationError, match="two metrics give 'gfid"):
        comparison.measure()
    assert sum(calls) == 18 * 3 + 18 * 2


def test_samples_of_a_model_with_labels_have_those_of_the_images(path):
    labels = np.arange(COUNT) % 3
    make = functools.partial(ConditionalVAE, 3)
    given = examples(make=make, factors=labels, factor_names=["kind"], factor_sizes=[3])
    metric = Kept(net(path), of="samples")
    measured(given, metric)
    with random.keyed(SEED, "samples", 0):
        latents = random.normal((COUNT, 2), "float64")
    images = given.model.decode(latents, labels).mean
    np.testing.assert_allclose(metric.sets[0][1], net(path)(images), rtol=1e-12)


@pytest.mark.slow
def test_both_see_one_dynamic_binarization(path):
    metric = Kept(net(path))
    given = examples(binarization="dynamic")
    measured(given, metric)
    seen = []
    for stored, _, first in given.batches():
        with given.batch(stored, "evaluation", first) as batch:
            seen.append(net(path)(batch["images"]))
    np.testing.assert_allclose(metric.sets[0][0], np.concatenate(seen)[:COUNT], rtol=1e-12)


def test_what_the_model_does_not_define_is_left_out(path, monkeypatch):
    given = examples()
    monkeypatch.setattr(given.model, "sample", no_prior)
    comparison = FeatureComparison(given, [FrechetDistance(net(path))])
    assert comparison.left_out == ["FrechetDistance of samples: it has no prior to sample from"]
    assert list(comparison.measure()) == [f"rfid[none,net={net_label(path)}]"]


def test_what_the_model_does_not_define_is_refused_where_it_is_asked_for(path, monkeypatch):
    given = examples()
    monkeypatch.setattr(given.model, "sample", no_prior)
    with pytest.raises(
        ConfigurationError, match=r"`FrechetDistance.of` names 'samples', which this VAE does not"
    ):
        FeatureComparison(given, [FrechetDistance(net(path), of="samples")])


def no_prior(num_samples, labels=None):
    raise NotImplementedError


def test_data_that_are_no_images_are_refused(path):
    given = examples()
    given.split.content = "latents"
    with pytest.raises(ConfigurationError, match="compares images, and these data are latents; leave it out"):
        FeatureComparison(given, [FrechetDistance(net(path))])


def test_too_few_images_are_refused(path):
    with pytest.raises(
        ConfigurationError, match="PrecisionRecall needs 4 images or more of each set, got 3 images"
    ):
        FeatureComparison(examples(num_examples=3), [PrecisionRecall(net=net(path))])


def test_a_model_that_diverged_is_said_to_be(path):
    given = examples()
    given.model.decoder.output_layer.bias.assign(np.full(64, np.nan))
    with pytest.raises(
        TrainingDiverged, match="features of the reconstructions of this model are not finite"
    ):
        measured(given, FrechetDistance(net(path)))


def test_a_net_that_overflows_is_no_fault_of_the_model(path):
    metric = FrechetDistance(net(path, layer="dense", pixel_range=(0, 3e38)))
    metric.net.build((None, *tiny_runs.SHAPE))
    metric.net.net.layers[-1].activation = lambda values: values * 1e300
    with pytest.raises(ConfigurationError, match="gives of the images are not finite; choose another net"):
        measured(examples(), metric)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "must return a dict, name -> float"),
        ({"distance": "far"}, "gives 'distance' as .*; it must be a number"),
    ],
)
def test_what_is_no_result_is_refused(path, given, message):
    metric = Kept(net(path))
    metric.compare = lambda real, other, seed: given
    with pytest.raises(ConfigurationError, match=message):
        measured(examples(), metric)
