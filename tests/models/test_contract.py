"""What every registered model must do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import random, registry

registry.load_builtins()
MODELS = {entry.name: entry.target for entry in registry.entries("model") if entry.package == "vaeflow"}
SHAPE = (8, 7, 2)


@pytest.fixture(params=MODELS, scope="module")
def kind(request):
    return MODELS[request.param]


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((5, *SHAPE)).astype(np.float32)


@pytest.fixture
def model(kind):
    made = kind(num_latents=3)
    made.build((None, *SHAPE))
    return made


def evaluate_terms(model, images, step=0):
    with random.keyed(0, "train", step):
        return model.objective(model.forward(tf.constant(images), training=True), step)


def test_terms_are_finite_per_example_or_scalars(model, images):
    terms = evaluate_terms(model, images)
    assert {"reconstruction_loss", "kl"} <= set(terms)
    for name, term in terms.items():
        assert tuple(term.value.shape) in ((5,), ()), name
        assert np.all(np.isfinite(term.value)), name
        assert np.isfinite(float(term.weight)), name
    for name in ("reconstruction_loss", "kl"):
        assert terms[name].value.shape == (5,)
    assert np.all(terms["kl"].value > 0)


def test_every_trainable_variable_has_a_gradient(model, images):
    with tf.GradientTape() as tape:
        terms = evaluate_terms(model, images)
        loss = tf.add_n([term.weight_as(tf.float32) * tf.reduce_mean(term.value) for term in terms.values()])
    assert model.trainable_variables
    for variable, gradient in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables)):
        assert gradient is not None and np.any(gradient), variable.path
        assert np.all(np.isfinite(gradient)), variable.path


def test_encode_decode_sample_and_call(model, images):
    posterior = model.encode(images)
    assert posterior.mean.shape == posterior.log_variance.shape == (5, 3)
    reconstruction = model.decode(posterior.mean)
    assert reconstruction.mean.shape == images.shape
    assert reconstruction.log_prob(images).shape == (5,)
    np.testing.assert_array_equal(model(images), reconstruction.mean)
    assert not np.array_equal(model(images, training=True), reconstruction.mean)
    assert model.sample(4).shape == (4, *SHAPE)


def test_the_same_images_at_another_position_give_another_sample(model, images):
    with random.keyed(0, "train", 0):
        one = model.forward(tf.constant(images)).latents.numpy()
    with random.keyed(0, "train", 0, first_position=1):
        other = model.forward(tf.constant(images)).latents.numpy()
    assert np.all(one != other)


def test_fit_lowers_the_loss(kind, images):
    model = kind(num_latents=3)
    model.compile(optimizer=keras.optimizers.Adam(0.003))
    history = model.fit(np.repeat(images, 4, axis=0), epochs=6, batch_size=8, verbose=0).history
    assert {"loss", "reconstruction_loss", "kl"} <= set(history)
    assert history["loss"][-1] < history["loss"][0]
    assert np.all(np.isfinite(history["loss"]))
    results = model.evaluate(images, batch_size=2, verbose=0, return_dict=True)
    assert set(results) == set(history) and np.all(np.isfinite(list(results.values())))
    assert model.predict(images, batch_size=2, verbose=0).shape == images.shape


def test_a_saved_model_comes_back_with_its_optimizer(kind, images, tmp_path, monkeypatch):
    numpy_vae.silence(monkeypatch)
    model = kind(num_latents=3)
    model.compile(optimizer="adam", jit_compile=False)
    model.fit(images, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is kind
    np.testing.assert_array_equal(again(images), model(images))
    assert again.optimizer.iterations == 1
    for one in (model, again):
        one.fit(images, verbose=0)
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_weights_go_into_a_new_model(kind, model, images, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    other = kind(num_latents=3)
    other.build((None, *SHAPE))
    assert not np.array_equal(other(images), model(images))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(images), model(images))


def test_the_configuration_makes_the_same_model(kind, model):
    again = kind.from_config(model.get_config())
    again.build((None, *SHAPE))
    assert again.get_config() == model.get_config()
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16"])
@pytest.mark.parametrize("given", ["global", "argument"])
def test_precision_reaches_every_layer_also_after_loading(kind, images, tmp_path, policy, given):
    if given == "global":
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx("float64" if policy == "float64" else "float32")
    model = kind(num_latents=3, **({"dtype": policy} if given == "argument" else {}))
    model.build((None, *SHAPE))
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")

    expected = "float64" if policy == "float64" else "float32"
    compute = "float64" if policy == "float64" else "bfloat16"
    for made in (model, again):
        assert {variable.dtype for variable in made.variables} == {expected}
        for block in (made.encoder, made.decoder):
            assert {layer.compute_dtype for layer in block._flatten_layers()} == {compute}
        # The KL is sensitive to the log variance: not in bfloat16.
        assert {layer.compute_dtype for layer in made.head._flatten_layers()} == {expected}
        for term in evaluate_terms(made, images.astype(expected)).values():
            assert term.value.dtype == expected
    one, other = (tf.cast(made(images.astype(expected)), tf.float64) for made in (model, again))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(None, 8, 8), (None, 64), (None, 1, 8, 8, 1)])
def test_images_of_another_rank_are_refused(kind, shape):
    with pytest.raises(ValueError, match=rf"{kind.__name__} expects images of shape \[B, H, W, C\], got"):
        kind(num_latents=3).build(shape)


@pytest.mark.parametrize("num_latents", [0, -3, 2.5, "10", None, True])
def test_the_number_of_latents_must_be_a_positive_integer(kind, num_latents):
    with pytest.raises(ValueError, match=f"`{kind.__name__}.num_latents` must be a positive integer, got"):
        kind(num_latents=num_latents)


@pytest.mark.parametrize("role", ["encoder", "decoder", "likelihood", "prior"])
def test_a_block_that_is_not_made_yet_is_refused(kind, role):
    """As `VAE.encoder = @DenseEncoder` gives it, without the parentheses."""
    with pytest.raises(ValueError, match=rf"`{kind.__name__}.{role}` must be a Keras layer,.*parentheses"):
        kind(**{role: keras.layers.Dense})


def test_a_negative_kl_weight_is_refused(kind):
    with pytest.raises(ValueError, match=f"`{kind.__name__}.kl_weight` must be a number of at least 0"):
        kind(kl_weight=-1)
