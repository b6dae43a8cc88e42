"""The exported functions: what the model computes, for any number of examples, without Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import small_codes
from vaeflow import layers, models, random
from vaeflow.distributions import Gaussian
from vaeflow.export import InferenceModule

CASES = {
    "dense": (
        lambda: models.VAE(3, layers.DenseEncoder(units=(8,)), layers.DenseDecoder(units=(8,))),
        (8, 8, 1),
    ),
    "beta, odd": (lambda: models.BetaVAE(beta=4.0, num_latents=2), (5, 7, 1)),
    "conv, odd, colour, Gaussian": (
        lambda: models.ConvVAE(
            4,
            layers.ConvEncoder(filters=(4, 4), units=(8,)),
            layers.ConvDecoder(filters=(4, 4), units=(8,)),
            layers.GaussianLikelihood(learned="per_pixel"),
        ),
        (9, 13, 3),
    ),
}


def make_module(name="dense"):
    """A model with weights that are not their initial zeros, and its module."""
    make, shape = CASES[name]
    return perturbed(make(), shape)


def perturbed(model, shape):
    model.build((None, *shape))
    for weight in model.weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.05, dtype=weight.dtype, seed=3))
    return model, InferenceModule(model, shape)


def saved(module, folder):
    tf.saved_model.save(module, str(folder), signatures=module.functions())
    return tf.saved_model.load(str(folder))


def examples(module, count):
    images = np.random.default_rng(1).random((count, *module.image_shape))
    return images.astype(module.dtype.as_numpy_dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_saved_model_computes_what_the_model_does(tmp_path, name):
    model, module = make_module(name)
    loaded = saved(module, tmp_path)
    for count in (1, 7, 64):
        images = examples(module, count)
        posterior = model.encode(tf.constant(images))
        latents = (
            np.random.default_rng(count).normal(size=(count, *module.latent_shapes["z"])).astype("float32")
        )
        expected = {
            "encode": {"mean": posterior.mean, "log_variance": posterior.log_variance},
            "decode": {"images": model.decode(tf.constant(latents)).mean},
            "reconstruct": {"reconstructions": model.decode(posterior.mean).mean},
        }
        for function, outputs in expected.items():
            given = {"latents": latents} if function == "decode" else {"images": images}
            found = loaded.signatures[function](**{key: tf.constant(value) for key, value in given.items()})
            assert found.keys() == outputs.keys()
            for part, value in outputs.items():
                assert found[part].dtype == tf.float32
                np.testing.assert_allclose(
                    found[part], value, atol=1e-5, err_msg=f"{function} {part} {count}"
                )


@pytest.mark.slow
def test_samples_are_decoded_from_the_prior_and_a_function_of_the_seed(tmp_path):
    model, module = make_module()
    loaded = saved(module, tmp_path)
    samples = loaded.sample(num_samples=64, seed=5)["images"]
    np.testing.assert_array_equal(loaded.sample(64, 5)["images"], samples)
    # The first of many are those of few.
    np.testing.assert_allclose(loaded.sample(7, 5)["images"], samples[:7], atol=1e-6)
    for other in (6, -5, 2**40):
        assert np.max(np.abs(loaded.sample(64, other)["images"] - samples)) > 1e-3
    with random.keyed(0, "export", 5):
        noise = random.normal((64, 3))
    np.testing.assert_allclose(model.decode(noise).mean, samples, atol=1e-6)
    assert abs(float(tf.reduce_mean(noise))) < 0.3
    assert 0.8 < float(tf.math.reduce_std(noise)) < 1.2


@keras.saving.register_keras_serializable(package="tests")
class ShiftedPrior(layers.StandardNormalPrior):
    """N(3, I)."""

    def distribution(self, model):
        standard = super().distribution(model)
        return Gaussian(standard.mean + 3.0, standard.log_variance)


@pytest.mark.slow
def test_samples_come_from_the_prior_of_the_model(tmp_path):
    model, _ = make_module()
    shifted = models.VAE(
        3, layers.DenseEncoder(units=(8,)), layers.DenseDecoder(units=(8,)), prior=ShiftedPrior()
    )
    shifted.build((None, 8, 8, 1))
    shifted.set_weights(model.get_weights())
    with random.keyed(0, "export", 5):
        latents = random.normal((4, 3)) + 3.0
    loaded = saved(InferenceModule(shifted, (8, 8, 1)), tmp_path)
    samples = loaded.sample(4, 5)["images"]
    np.testing.assert_allclose(model.decode(latents).mean, samples, atol=1e-6)


@pytest.mark.slow
def test_a_model_that_reads_labels_takes_them_in_all_functions():
    model = models.ConditionalVAE(
        [3, 2],
        ("encoder", "decoder", "prior"),
        num_latents=3,
        encoder=layers.DenseEncoder(units=(8,)),
        decoder=layers.DenseDecoder(units=(8,)),
    )
    model, module = perturbed(model, (4, 3, 1))
    images, latents = examples(module, 5), np.random.default_rng(2).normal(size=(5, 3)).astype("float32")
    labels = np.array([[0, 1], [2, 0], [1, 1], [2, 1], [0, 0]])
    found = module.encode(images, labels) | module.reconstruct(images, labels)
    posterior = model.encode(images, labels)
    np.testing.assert_allclose(found["mean"], posterior.mean, atol=1e-6)
    expected = model.decode(posterior.mean, labels).mean
    np.testing.assert_allclose(found["reconstructions"], expected, atol=1e-6)
    np.testing.assert_allclose(
        module.decode(latents, labels)["images"], model.decode(latents, labels).mean, atol=1e-6
    )
    with random.keyed(0, "export", 5):
        expected = model.sample(5, labels)
    np.testing.assert_allclose(module.sample(5, labels)["images"], expected, atol=1e-6)
    # Another label gives another image.
    one, other = (module.decode(latents, each)["images"] for each in (labels, labels[::-1]))
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.long
def test_codes_go_in_and_out(tmp_path):
    model, module = perturbed(small_codes.small(layers.ResidualQuantizer(num_codes=7, depth=2)), (8, 8, 1))
    assert (module.code_sizes, module.code_shape) == ((7, 7), (2, 2, 2))
    loaded = saved(module, tmp_path)
    images = examples(module, 5)
    codes = loaded.signatures["encode_codes"](images=tf.constant(images))["codes"]
    assert codes.dtype == tf.int32
    np.testing.assert_array_equal(codes, model.encode_codes(images))
    decoded = loaded.signatures["decode_codes"](codes=codes)["images"]
    np.testing.assert_allclose(decoded, model.decode_codes(codes).mean, atol=1e-6)
    # They stand for all that the decoder sees.
    np.testing.assert_allclose(decoded, loaded.reconstruct(images)["reconstructions"], atol=1e-6)


def test_a_model_without_codes_has_no_functions_of_codes():
    assert make_module()[1].function_names == ("encode", "decode", "reconstruct", "sample")


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "dtype"), [("mixed_bfloat16", "float32"), ("float64", "float64")])
def test_precisions(tmp_path, precision, dtype):
    keras.config.set_dtype_policy(precision)
    keras.config.set_floatx(dtype)
    model, module = make_module()
    loaded = saved(module, tmp_path)
    images = examples(module, 7)
    assert images.dtype == dtype
    outputs = {
        **loaded.encode(images),
        "decoded": loaded.decode(np.zeros((7, 3), dtype))["images"],
        **loaded.reconstruct(images),
        **loaded.sample(7, 0),
    }
    assert {value.dtype.name for value in outputs.values()} == {dtype}
    tolerance = 1e-12 if dtype == "float64" else 0.02  # bfloat16 has 8 bits of precision.
    expected = tf.cast(model(images), dtype)
    np.testing.assert_allclose(outputs["reconstructions"], expected, atol=tolerance)


@pytest.mark.slow
def test_another_size_is_refused_by_tensorflow(tmp_path):
    loaded = saved(make_module()[1], tmp_path)
    with pytest.raises(TypeError, match=r"8, 8, 1"):
        loaded.encode(np.zeros((2, 9, 8, 1), "float32"))
