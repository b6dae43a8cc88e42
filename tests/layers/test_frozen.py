"""The frozen block: what it computes, what it leaves alone, and which files it refuses."""

import hashlib
import os
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import frozen_nets
from vaeflow import registry
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.layers import FrozenNet
from vaeflow.models import frozen_blocks

SHAPE = (8, 8, 1)
IMAGES = np.random.default_rng(0).random((5, *SHAPE)).astype("float32")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.keras"


def built(path, **arguments):
    if registry.is_saved_model(path):
        registry.load_plugin(str(path))
    block = FrozenNet(str(path), **arguments)
    block.build((None, *SHAPE))
    return block


def test_it_computes_as_the_net_does_in_evaluation(path):
    net = frozen_nets.save(path)
    expected = net(IMAGES, training=False)
    for training in (False, True):
        np.testing.assert_array_equal(built(path)(IMAGES, training=training), expected)


def test_a_net_may_have_several_outputs(path):
    inputs = keras.Input(SHAPE)
    first = keras.layers.Conv2D(2, 3)(inputs)
    keras.Model(inputs, [first, keras.layers.Conv2D(3, 3)(first)]).save(path)
    assert [tuple(each.shape) for each in built(path)(IMAGES)] == [(5, 6, 6, 2), (5, 4, 4, 3)]


def test_gradients_pass_through_it(path):
    net = frozen_nets.save(path, SHAPE, 0, keras.layers.Dense(3, "tanh"))
    images = tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = tf.reduce_sum(built(path)(images))
    flat, (kernel, bias) = IMAGES.reshape(5, -1), [weight.numpy() for weight in net.weights]
    expected = (1 - np.tanh(flat @ kernel + bias) ** 2) @ kernel.T
    np.testing.assert_allclose(tape.gradient(value, images).numpy().reshape(5, -1), expected, rtol=1e-4)


def test_it_computes_in_the_precision_of_the_model(path):
    net = frozen_nets.save(path, SHAPE, 0, keras.layers.Dense(3))
    kernel, bias = (weight.numpy().astype("float64") for weight in net.weights)
    found = built(path, dtype="float64")(IMAGES.astype("float64"))
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, IMAGES.reshape(5, -1) @ kernel + bias, rtol=1e-13)
    assert built(path, dtype="mixed_bfloat16")(IMAGES).dtype == "bfloat16"


def test_inputs_of_float64_keep_their_digits(path):
    """Keras casts what a functional net is given to the dtype of its inputs, also where nets are nested."""
    inner = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten()])
    inputs = keras.Input(SHAPE)
    keras.Model(inputs, inner(inputs)).save(path)
    images = np.random.default_rng(0).random((2, *SHAPE))
    np.testing.assert_array_equal(built(path, dtype="float64")(images), images.reshape(2, -1))


@pytest.mark.long
def test_no_model_can_make_it_trainable(path):
    frozen_nets.save(path)
    model = frozen_nets.vae(path)
    model.build((None, *SHAPE))
    own = len(model.trainable_variables)
    assert own == len(frozen_blocks.without(model, model.weights))
    assert len(model.weights) > own
    model.trainable = False
    model.trainable = True
    assert len(model.trainable_variables) == own
    assert model.encoder.trainable is False


@pytest.mark.long
def test_fit_leaves_it_as_it_is(path):
    net = frozen_nets.save(path)
    model = frozen_nets.vae(path)
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    model.fit(IMAGES, epochs=2, verbose=0)
    np.testing.assert_array_equal(model.encoder(IMAGES), net(IMAGES, training=False))


@pytest.mark.slow
def test_a_file_of_the_whole_model_needs_the_file_of_the_net_no_more(path, tmp_path):
    frozen_nets.save(path)
    model = frozen_nets.vae(path)
    model.build((None, *SHAPE))
    model.save(tmp_path / "whole.keras")
    path.unlink()
    again = keras.saving.load_model(tmp_path / "whole.keras")
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
    assert frozen_blocks.files(again) == frozen_blocks.files(model)
    assert len(again.trainable_variables) == len(model.trainable_variables)
    # Where it lay on the machine that trained is nobody's business.
    assert model.encoder.get_config()["file"] == "net.keras"


def test_it_names_its_file_and_counts_its_weights(path):
    net = frozen_nets.save(path)
    model = frozen_nets.vae(path)
    model.build((None, *SHAPE))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert frozen_blocks.files(model) == [("net.keras", digest)]
    described = f"{model.count_params():,} ({net.count_params():,} of them frozen)"
    assert frozen_blocks.num_weights(model) == described


def test_what_is_in_it_is_no_layer_of_the_training(path):
    """No schedule, no start from examples and no rule about replicas applies to it."""
    frozen_nets.save(path)
    model = frozen_nets.vae(path)
    model.build((None, *SHAPE))
    layers = model.all_layers()
    assert model.encoder in layers
    assert not any(
        isinstance(each, (keras.layers.Dropout, keras.layers.BatchNormalization)) for each in layers
    )


def test_a_digest_that_was_set_must_be_that_of_the_file(path):
    frozen_nets.save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert built(path, sha256=digest).sha256 == digest
    with pytest.raises(
        ConfigurationError, match=f"has the SHA-256 {digest}, and `FrozenNet.sha256` is 'ab'; put"
    ):
        built(path, sha256="ab")


@pytest.mark.parametrize("name", ["missing.keras", "net.h5", "folder.keras"])
def test_what_is_no_such_file_is_refused(tmp_path, name):
    (tmp_path / "net.h5").touch()
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(
        (ConfigurationError, EnvironmentFailure), match=r"must be an existing .keras file|no regular"
    ):
        built(tmp_path / name)


def test_a_pipe_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(EnvironmentFailure, match="no regular file"):
        built(path)


@pytest.mark.parametrize(
    "damage", [lambda raw: b"PK", lambda raw: raw[:-200], lambda raw: raw[:900] + raw[950:]]
)
def test_a_damaged_file_is_refused(path, damage):
    frozen_nets.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(EnvironmentFailure, match=r"net.keras cannot be read: .*; expected an intact file"):
        built(path)


@pytest.fixture
def folder(tmp_path):
    """A SavedModel below a folder whose name is a pattern that does not match it."""
    frozen_nets.save(tmp_path / "net.keras", SHAPE, 0, keras.layers.Dense(3))
    folder = tmp_path / "lr[0.1]" / "net"
    net = keras.saving.load_model(tmp_path / "net.keras")
    net.export(str(tmp_path / "exported"), verbose=False)
    shutil.copytree(tmp_path / "exported", folder)
    return folder


def test_the_path_of_a_saved_model_is_no_pattern(path, folder):
    """TensorFlow itself finds no variables there."""
    np.testing.assert_allclose(built(folder)(IMAGES), built(path)(IMAGES), rtol=1e-6)


def test_a_saved_model_that_nobody_has_named_is_not_read(folder, monkeypatch):
    """TensorFlow would execute it, already while it reads it."""
    monkeypatch.setattr(tf.saved_model, "load", None)
    link = folder.parent / "link"
    link.symlink_to(folder)
    for path in (folder, link):
        with pytest.raises(
            ConfigurationError, match=rf"{re.escape(str(path))} is a SavedModel, a program, .*"
        ):
            FrozenNet(str(path)).build((None, *SHAPE))
    monkeypatch.undo()
    registry.load_plugin(str(folder))
    FrozenNet(str(link)).build((None, *SHAPE))


def test_a_name_that_is_no_text_has_its_place_in_the_digest(folder):
    before = built(folder).sha256
    (folder / os.fsdecode(b"\xff")).touch()
    assert built(folder).sha256 != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("saved_model.pb", b""),
        ("saved_model.pb", b"\xff" * 100),
        ("variables/variables.index", b""),
        ("variables/variables.data-00000-of-00001", b"x"),
    ],
)
def test_a_damaged_saved_model_is_refused(folder, name, content):
    """TensorFlow raises five classes for these."""
    (folder / name).write_bytes(content)
    with pytest.raises(EnvironmentFailure, match=r"net cannot be read: .*; expected an intact file"):
        built(folder)


@pytest.mark.parametrize("exported", [False, True])
def test_weights_that_are_not_finite_are_refused(path, tmp_path, exported):
    """Otherwise the training would be said to diverge at its first step."""
    net = frozen_nets.save(path, SHAPE, 0, keras.layers.Dense(3))
    net.set_weights([np.full(weight.shape, np.nan) for weight in net.get_weights()])
    net.save(path)
    net.export(str(tmp_path / "net"), verbose=False)
    with pytest.raises(EnvironmentFailure, match=r"net.* cannot be read: its weight .* is not finite"):
        built(tmp_path / "net" if exported else path)


def test_code_in_the_file_is_refused_and_not_run(path, tmp_path):
    marker = str(tmp_path / "marker")
    code = keras.layers.Lambda(lambda values: (open(marker, "w").close(), values)[1])  # noqa: PTH123
    frozen_nets.save(path, SHAPE, 0, code)
    os.remove(marker)  # noqa: PTH107
    with pytest.raises(
        ConfigurationError, match=r"code that is not trusted \(.*Lambda.*; use a net of Keras'"
    ):
        built(path)
    assert not os.path.exists(marker)  # noqa: PTH110


class Strange(keras.layers.Layer):
    """A class that nobody has registered."""

    def call(self, inputs):
        return inputs


def test_a_class_that_nobody_registered_is_refused(path):
    frozen_nets.save(path, SHAPE, 0, Strange())
    with pytest.raises(ConfigurationError, match=r"not trusted \(Could not locate class 'Strange'\); use"):
        built(path)
