"""The net of features: how images are fitted to it, what it gives, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.fixtures import frozen_nets
from vaeflow import registry
from vaeflow.errors import ConfigurationError
from vaeflow.layers import FeatureNet

IMAGES = np.random.default_rng(0).random((3, 8, 8, 1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.keras"


def saved(path, *layers, shape=(8, 8, 1)):
    """Saves a net in which every layer keeps its name."""
    keras.utils.set_random_seed(0)
    keras.Sequential([keras.Input(shape), *layers]).save(path)


def called(path, images, **arguments):
    net = FeatureNet(str(path), dtype="float64", **arguments)
    net.build((None, *images.shape[1:]))
    return net(tf.constant(images)).numpy()


def pixels(path, shape):
    """A net whose features are its input."""
    saved(path, keras.layers.Flatten(), shape=shape)


def test_it_gives_what_the_net_gives(path):
    net = frozen_nets.save(path)
    found = FeatureNet(str(path))(IMAGES.astype("float32"))
    np.testing.assert_array_equal(found, net(IMAGES, training=False))


def test_black_and_white_are_what_the_net_expects(path):
    pixels(path, (8, 8, 1))
    found = called(path, IMAGES, pixel_range=(-1, 3))
    np.testing.assert_allclose(found, 4 * IMAGES.reshape(3, -1) - 1, rtol=1e-14)


def test_a_grey_image_is_repeated_in_each_channel(path):
    pixels(path, (8, 8, 3))
    found = called(path, IMAGES).reshape(3, 8, 8, 3)
    np.testing.assert_array_equal(found, np.repeat(IMAGES, 3, axis=3))


@pytest.mark.parametrize("resizing", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(16, 11), (5, 3), (8, 13)])
def test_other_sizes_are_resized_as_tensorflow_does_with_antialiasing(path, resizing, size):
    pixels(path, (*size, 1))
    found = called(path, IMAGES, resizing=resizing).reshape(3, *size, 1)
    expected = tf.image.resize(IMAGES, size, resizing, antialias=True)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("resizing", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(16, 11), (5, 3)])
def test_other_sizes_are_resized_as_pillow_does(path, resizing, size):
    pixels(path, (*size, 1))
    found = called(path, IMAGES, resizing=resizing).reshape(3, *size)
    image = Image.fromarray(IMAGES[0, :, :, 0].astype("float32"))
    expected = image.resize(size[::-1], getattr(Image.Resampling, resizing.upper()))
    np.testing.assert_allclose(found[0], np.asarray(expected), atol=2e-6)


def test_a_net_for_every_size_takes_images_as_they_are(path):
    saved(path, keras.layers.GlobalAveragePooling2D(), shape=(None, None, 1))
    np.testing.assert_allclose(called(path, IMAGES), IMAGES.mean(axis=(1, 2)), rtol=1e-14)


def test_a_map_of_features_is_averaged_over_its_places(path):
    saved(path, keras.layers.Rescaling(2.0))
    np.testing.assert_allclose(called(path, IMAGES), 2 * IMAGES.mean(axis=(1, 2)), rtol=1e-14)


def test_a_layer_gives_the_features(path):
    saved(path, keras.layers.Flatten(name="flat"), keras.layers.Dense(2, name="head"))
    found = called(path, IMAGES, layer="flat")
    np.testing.assert_array_equal(found, IMAGES.reshape(3, -1))


def test_a_saved_model_gives_the_features_in_its_own_precision(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None, 5, 5, 3), tf.float32)])
    def doubled(images):
        return {"features": 2 * tf.reshape(images, (-1, 75)), "other": images}

    module = tf.Module()
    module.doubled = doubled
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": doubled})
    registry.load_plugin(str(tmp_path))
    resized = tf.repeat(tf.image.resize(IMAGES, (5, 5), antialias=True), 3, axis=3)
    found = called(tmp_path, IMAGES, layer="features")
    np.testing.assert_allclose(found, 2 * tf.reshape(resized, (3, -1)), atol=2e-6)


def test_its_label_names_the_file_and_the_layer(path):
    saved(path, keras.layers.Flatten(name="flat"), keras.layers.Dense(2))
    plain, chosen = FeatureNet(str(path)), FeatureNet(str(path), layer="flat")
    for net in (plain, chosen):
        net.build((None, 8, 8, 1))
    assert plain.label == f"net={plain.sha256[:12]}"
    assert chosen.label == f"net={plain.sha256[:12]},layer=flat"
    assert chosen.settings == {
        "file": "net.keras",
        "sha256": plain.sha256,
        "layer": "flat",
        "pixel_range": [0.0, 1.0],
        "resizing": "bilinear",
    }


def test_equal_settings_are_one_net():
    assert FeatureNet("a.keras", layer="b").key == FeatureNet("a.keras", layer="b").key
    assert FeatureNet("a.keras").key != FeatureNet("a.keras", layer="b").key


def test_a_missing_file_is_refused_by_the_setting_that_names_it(path):
    with pytest.raises(ConfigurationError, match=r"`FeatureNet.file` must be an existing .keras file"):
        called(path, IMAGES)


def test_images_of_other_channels_are_refused(path):
    pixels(path, (8, 8, 3))
    with pytest.raises(
        ConfigurationError, match="takes images of 3 channels, those of the data have 2; choose"
    ):
        called(path, np.zeros((1, 8, 8, 2)))


def test_a_net_that_takes_no_images_is_refused(path):
    saved(path, keras.layers.Dense(2), shape=(7,))
    with pytest.raises(ConfigurationError, match=r"must take images \[b, H, W, C\], it takes \(None, 7\)"):
        called(path, IMAGES)


def test_what_is_no_vector_of_features_is_refused(path):
    saved(path, keras.layers.Reshape((8, 8)))
    with pytest.raises(ConfigurationError, match=r"must give features \[b, D\] .* it gives \[\(3, 8, 8\)\]"):
        called(path, IMAGES)


@pytest.mark.parametrize("wrong", [1, ("a", "b")])
def test_a_layer_that_is_no_name_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`FeatureNet.layer` must be the name of a layer, got "):
        FeatureNet("a.keras", layer=wrong)


@pytest.mark.parametrize("wrong", [1, (0,), (0, float("nan")), "ab"])
def test_a_pixel_range_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`FeatureNet.pixel_range` must be"):
        FeatureNet("a.keras", pixel_range=wrong)


def test_an_unknown_resizing_is_refused():
    with pytest.raises(ValueError, match="must be one of 'bilinear', 'bicubic'; got 'nearest'"):
        FeatureNet("a.keras", resizing="nearest")
