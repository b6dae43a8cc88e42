"""A frozen net's inner layers, and nets out of a SavedModel."""

import hashlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import frozen_nets
from vaeflow import registry
from vaeflow.errors import ConfigurationError
from vaeflow.layers import FrozenNet, PerceptualDistance
from vaeflow.models import frozen_blocks

SHAPE = (5, 4, 3)
IMAGES = np.random.default_rng(0).random((3, *SHAPE)).astype("float32")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Of the file."""
    return tmp_path_factory.mktemp("nets") / "net.keras"


@pytest.fixture(scope="module")
def net(path):
    return frozen_nets.save_pointwise(path, SHAPE)


@pytest.fixture(scope="module")
def folder(net, path):
    """The same net as a SavedModel."""
    frozen_nets.save_folder(path.with_suffix(""), net)
    registry.load_plugin(str(path.with_suffix("")))
    return path.with_suffix("")


def built(path, **arguments):
    if registry.is_saved_model(path):
        registry.load_plugin(str(path))
    block = FrozenNet(str(path), **arguments)
    block.build((None, *SHAPE))
    return block


def features(net):
    first = np.maximum(IMAGES @ net.get_layer("first").kernel.numpy()[0, 0] + net.get_layer("first").bias, 0)
    return first, np.tanh(first @ net.get_layer("second").kernel.numpy()[0, 0])


def test_the_layers_that_are_named_are_returned_in_their_order(net, path):
    first, second = features(net)
    found = built(path, layers=("second", "first"))(IMAGES)
    np.testing.assert_allclose(found[0], second, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], first, rtol=1e-4, atol=1e-6)


def test_one_layer_is_a_list_of_one(net, path):
    assert [each.shape for each in built(path, layers="first")(IMAGES)] == [(3, 5, 4, 4)]


def test_a_model_that_is_saved_whole_keeps_the_layers(net, path):
    block = built(path, layers=("first",))
    again = FrozenNet.from_config(block.get_config())
    again.net.set_weights(block.net.get_weights())
    np.testing.assert_array_equal(again(IMAGES)[0], block(IMAGES)[0])


def test_convolutions_compute_in_double_precision(net, path):
    (found,) = built(path, layers=("first",), dtype="float64")(IMAGES.astype("float64"))
    layer = net.get_layer("first")
    kernel, bias = (each.numpy().astype("float64") for each in layer.weights)
    np.testing.assert_allclose(
        found, np.maximum(IMAGES.astype("float64") @ kernel[0, 0] + bias, 0), rtol=1e-12
    )


def test_inputs_are_not_rounded_to_the_precision_of_the_file(net, path):
    block = built(path, layers=("second",), dtype="float64")
    images = np.full((1, *SHAPE), 0.5)
    assert np.abs(block(images)[0] - block(images + 1e-12)[0]).max() > 0


def test_a_saved_model_gives_the_outputs_of_its_signature(net, folder):
    for found, expected in zip(built(folder, layers=("first", "second"))(IMAGES), features(net), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_gradients_pass_through_a_saved_model_and_its_weights_are_not_trained(net, folder, path):
    images = tf.constant(IMAGES)
    gradients = []
    for each in (folder, path):
        block = built(each, layers=("second",))
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(block(images)[0])
        gradients.append(tape.gradient(total, images))
        assert block.trainable_variables == []
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_a_saved_model_is_fed_in_its_own_precision(folder, dtype):
    block = built(folder, layers=("first",), dtype=dtype)
    (found,) = block(IMAGES.astype("float64"))
    assert found.dtype == block.compute_dtype


def test_a_distance_over_a_saved_model_is_that_over_the_file(net, folder, path):
    distances = []
    for each in (folder, path):
        block = PerceptualDistance(FrozenNet(str(each), layers=("first", "second")))
        block.build((None, *SHAPE))
        distances.append(block.distance(IMAGES, IMAGES[::-1]))
    np.testing.assert_allclose(*distances, rtol=1e-4, atol=1e-7)


def test_the_digest_of_a_saved_model_is_that_of_all_names_and_contents(folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "net")
    block = built(folder, layers=("first",))
    lines = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    assert block.frozen_file == ("net", hashlib.sha256(lines.encode()).hexdigest())
    before = block.sha256
    (folder / "variables" / "variables.index").rename(folder / "variables" / "other.index")
    with pytest.raises(ConfigurationError, match=f"has the SHA-256 .*, and `FrozenNet.sha256` is '{before}'"):
        built(folder, layers=("first",), sha256=before)


def test_a_saved_model_is_in_no_checkpoint(folder):
    block = built(folder, layers=("first",))
    model = frozen_nets.vae(folder)
    assert frozen_blocks.without(model, block.variables) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_unknown_layer_is_refused(kind, net, folder, path):
    path = folder if kind == "folder" else path
    with pytest.raises(
        ConfigurationError, match=f"{path.name} has no layer or output 'third'; it has .*first"
    ):
        built(path, layers=("third",))


def test_a_signature_of_several_inputs_is_refused(tmp_path):
    module = tf.Module()
    module.function = tf.function(lambda one, other: {"sum": one + other})
    spec = tf.TensorSpec((None, 2), tf.float32)
    signatures = {"serving_default": module.function.get_concrete_function(spec, spec)}
    tf.saved_model.save(module, str(tmp_path / "net"), signatures)
    with pytest.raises(ConfigurationError, match="must have a signature 'serving_default' of one input"):
        built(tmp_path / "net")


def test_a_layer_without_a_kernel_gives_no_weighting(net, path):
    with pytest.raises(ConfigurationError, match=r"'flat' of net.keras has no kernel; name a layer with one"):
        built(path).kernel_of("flat")
    assert isinstance(net, keras.Model)
