"""The perceptual distance against NumPy, over nets that the tests make."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import frozen_nets
from vaeflow.errors import ConfigurationError
from vaeflow.layers import FrozenNet, PerceptualDistance

SHAPE = (5, 4, 3)
ONE, OTHER = np.random.default_rng(0).random((2, 3, *SHAPE))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Of the file."""
    return tmp_path_factory.mktemp("nets") / "net.keras"


@pytest.fixture(scope="module")
def net(path):
    """Two pointwise convolutions and the weighting of each."""
    return frozen_nets.save_pointwise(path, SHAPE)


def built(path, shape=SHAPE, layers=("first", "second"), **arguments):
    block = PerceptualDistance(
        FrozenNet(str(path), layers=layers, dtype="float64"), dtype="float64", **arguments
    )
    block.build((None, *shape))
    return block


def features(net, images):
    """Of both layers, in NumPy."""
    kernel, bias = (each.numpy().astype("float64") for each in net.get_layer("first").weights)
    first = np.maximum(images @ kernel[0, 0] + bias, 0)
    kernel, bias = (each.numpy().astype("float64") for each in net.get_layer("second").weights)
    return [first, np.tanh(first @ kernel[0, 0] + bias)]


def distance(net, one, other, weightings=(1.0, 1.0)):
    """Eq. 1 of arXiv:1801.03924."""
    total = 0.0
    for a, b, weighting in zip(features(net, one), features(net, other), weightings, strict=True):
        a, b = (each / np.sqrt((each**2).sum(-1, keepdims=True) + 1e-10) for each in (a, b))
        total += (weighting * (a - b) ** 2).sum(-1).mean((1, 2))
    return total


def test_equal_weights(net, path):
    np.testing.assert_allclose(built(path).distance(ONE, OTHER), distance(net, ONE, OTHER), rtol=1e-10)


def test_the_weighting_of_the_file(net, path):
    weightings = [net.get_layer(name).kernel.numpy()[0, 0, :, 0] for name in ("weigh_first", "weigh_second")]
    block = built(path, weighting_layers=("weigh_first", "weigh_second"))
    found = block.distance(ONE, OTHER)
    np.testing.assert_allclose(found, distance(net, ONE, OTHER, weightings), rtol=1e-10)
    assert np.abs(found - distance(net, ONE, OTHER)).min() > 0.01


def test_one_layer_may_be_named_without_a_list(net, path):
    one, other = (
        built(path, layers=each[0], weighting_layers=each[1])
        for each in (("first", "weigh_first"), (("first",), ("weigh_first",)))
    )
    np.testing.assert_array_equal(one.distance(ONE, OTHER), other.distance(ONE, OTHER))


def test_the_input_is_scaled(net, path):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)
    found = built(path, mean=mean, std=std).distance(ONE, OTHER)
    expected = distance(net, *((images - np.array(mean)) / np.array(std) for images in (ONE, OTHER)))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_grey_image_is_shown_in_three_channels(net, path):
    grey, other = ONE[..., :1], OTHER[..., :1]
    block = built(path, (5, 4, 1), mean=(0.4, 0.5, 0.6))
    expected = distance(net, *(images - np.array([0.4, 0.5, 0.6]) for images in (grey, other)))
    np.testing.assert_allclose(block.distance(grey, other), expected, rtol=1e-10)


def test_the_gradient_is_that_of_the_second_image_alone(net, path):
    block = built(path)
    one, other = tf.Variable(ONE), tf.Variable(OTHER)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(block.distance(one, other))
    of_one, of_other = tape.gradient(total, [one, other])
    assert of_one is None
    nudge = 1e-5 * np.random.default_rng(1).normal(size=OTHER.shape)
    slope = (distance(net, ONE, OTHER + nudge) - distance(net, ONE, OTHER - nudge)).sum() / 2
    assert np.sum(of_other * nudge) == pytest.approx(slope, rel=1e-5)
    assert block.trainable_variables == []


def test_features_that_are_all_zero_have_a_finite_gradient(net, path):
    dark = tf.Variable(np.full((1, *SHAPE), -1e3))  # No unit of the first layer answers.
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(built(path).distance(ONE[:1], dark))
    assert np.all(features(net, dark.numpy())[0].min(-1) == 0)
    assert np.all(np.isfinite(tape.gradient(total, dark)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ("third",)}, "net.keras has no layer or output 'third'; it has .*first, second"),
        (
            {"weighting_layers": ("weigh_first",)},
            "names 1 layers, and the net has 2 outputs; name one for each",
        ),
        ({"weighting_layers": ("first", "second")}, r"the kernel of 'first' is .*, expected \[1, 1, 4, 1\]"),
        ({"weighting_layers": ("flat", "flat")}, "'flat' of net.keras has no kernel; name a layer with one"),
        ({"mean": (0.1, 0.2)}, "have 2 and 1 numbers, and images 3 channels; give one number, or one"),
    ],
)
def test_what_does_not_fit_is_refused(net, path, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        built(path, **arguments)


def test_a_net_that_is_not_frozen_is_refused():
    with pytest.raises(ConfigurationError, match=r"`PerceptualDistance.net` must be a FrozenNet, got"):
        PerceptualDistance(keras.layers.Dense(1))


def test_weightings_that_are_no_names_are_refused():
    message = "`PerceptualDistance.weighting_layers` must be a text or a list of texts, got 3"
    with pytest.raises(ValueError, match=message):
        PerceptualDistance(FrozenNet("net.keras"), weighting_layers=3)


def test_a_standard_deviation_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"`PerceptualDistance.std` must be a number above 0"):
        PerceptualDistance(FrozenNet("net.keras"), std=(1.0, 0.0, 1.0))
