"""The JAX programs of the comparison, where JAX is installed: their nets and losses are Keras'."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.programs import keras_nets
from benchmarks.workloads import WORKLOADS

jax = pytest.importorskip("jax", reason="JAX is not installed: see benchmarks/requirements.txt")
pytest.importorskip("optax", reason="optax is not installed: see benchmarks/requirements.txt")

from jax import lax  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from benchmarks.programs import jax_convolutions, jax_loop, jax_nets  # noqa: E402

NETS = ["dense_128", "conv28_128", "conv64_64", "resnet64_64", "factor64_64"]
RANDOM = np.random.default_rng(0)
LAYOUT = ("NHWC", "HWIO", "NHWC")


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 1), (3, 2), (2, 2), (1, 1)])
@pytest.mark.parametrize("in_loop", [False, True])
def test_convolutions_are_those_of_xla(size, stride, in_loop):
    images, kernel = normal(2, 8, 8, 3), normal(size, size, 3, 5)
    expected = lax.conv_general_dilated(images, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT)
    found = jax_convolutions.convolution(images, kernel, stride, in_loop)
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("channels", "filters"), [(8, 1), (3, 5)])
def test_transposed_convolutions_are_those_of_xla(channels, filters):
    images, kernel = normal(2, 8, 8, channels), normal(4, 4, channels, filters)
    expected = lax.conv_transpose(images, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)
    found = jax_convolutions.transposed_convolution(images, kernel)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def from_keras(values, like, heads=False):
    """Arranges a Keras net's values, two for each layer, as the parameters of the same net in JAX."""
    pairs = [(values[at].numpy(), values[at + 1].numpy()) for at in range(0, len(values), 2)]
    if heads:
        pairs[-2:] = [tuple(np.concatenate(both, -1) for both in zip(*pairs[-2:], strict=True))]
    # Keras lists shortcuts elsewhere.
    shortcuts = [pair for pair in pairs if pair[0].shape[:-2] == (1, 1)]
    others = [pair for pair in pairs if pair[0].shape[:-2] != (1, 1)]
    leaves, structure = jax.tree.flatten(like)
    found = []
    for leaf in leaves[::2]:
        kernel, bias = (shortcuts if leaf.shape[:-2] == (1, 1) else others).pop(0)
        if kernel.shape[:-2] == (4, 4) and not heads:
            # A transposed convolution, which TensorFlow defines as the gradient of a convolution.
            kernel = kernel[::-1, ::-1].swapaxes(2, 3)
        assert kernel.shape == leaf.shape
        found += [kernel, bias]
    assert not shortcuts + others
    return jax.tree.unflatten(structure, found)


def keras_losses(workload, nets, pixels, noise):
    """The losses of VAE and discriminator in TensorFlow, as the papers write them, and their gradients."""
    encoder, decoder, discriminator = nets
    with tf.GradientTape(persistent=True) as tape:
        mean, log_variance = encoder(pixels / np.float32(255.0))
        latents = mean + tf.exp(0.5 * log_variance) * noise
        probabilities = tf.cast(tf.sigmoid(decoder(latents)), tf.float64)
        images = pixels / 255.0
        log_likelihood = images * tf.math.log(probabilities) + (1 - images) * tf.math.log1p(-probabilities)
        kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_variance) - 1 - log_variance, 1)
        loss = tf.cast(tf.reduce_mean(-tf.reduce_sum(log_likelihood, (1, 2, 3))), tf.float32)
        loss += tf.reduce_mean(kl)
        own_loss = tf.zeros(())
        if discriminator is not None:
            loss += 30.0 * tf.reduce_mean(discriminator(latents))
            logits, permuted_logits = (discriminator(each) for each in (latents, latents[::-1]))
            told_apart = tf.math.log(tf.sigmoid(logits)) + tf.math.log(1 - tf.sigmoid(permuted_logits))
            own_loss = -0.5 * tf.reduce_mean(told_apart)
    gradients = [
        tape.gradient(which, net.trainable_variables)
        for which, net in ((loss, encoder), (loss, decoder), (own_loss, discriminator))
        if net is not None
    ]
    return loss, own_loss, latents, gradients


@pytest.mark.slow
@pytest.mark.parametrize("in_loop", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_losses_and_gradients_are_those_of_keras_at_equal_weights(name, in_loop):
    workload = WORKLOADS[name]
    keras.utils.set_random_seed(0)
    nets = keras_nets.make(workload)
    side, channels = workload.image_shape
    pixels = RANDOM.integers(0, 256, (4, side, side, channels), np.uint8)
    noise = normal(4, workload.num_latents)
    loss, own_loss, latents, gradients = keras_losses(workload, nets, pixels, noise)

    trainer = jax_loop.Trainer(workload, in_loop)
    (vae, *discriminator), _ = jax.jit(trainer.init)(jax.random.key(0))
    like = [*vae, *discriminator]
    weights = [net.trainable_variables for net in nets if net is not None]
    number = jax_nets.num_parameters(like)
    assert number == sum(variable.shape.num_elements() for net in weights for variable in net)

    def arranged(values):
        return [
            from_keras(each, shapes, place == 0)
            for place, (each, shapes) in enumerate(zip(values, like, strict=True))
        ]

    parameters, expected = arranged(weights), arranged(gradients)
    compute = jax.jit(jax.value_and_grad(trainer.loss, has_aux=True))
    (found, found_latents), found_gradients = compute(
        parameters[:2], parameters[2:], pixels.astype(np.float32) / 255.0, noise
    )
    assert found == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(found_latents, latents, atol=1e-4)
    if discriminator:
        compute = jax.jit(jax.value_and_grad(trainer.discriminator_loss))
        found, own_gradients = compute(parameters[2], found_latents, found_latents[::-1])
        assert found == pytest.approx(float(own_loss), rel=1e-5)
        found_gradients = [*found_gradients, own_gradients]
    for one, other in zip(jax.tree.leaves(found_gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("name", ["dense_128", "factor64_64"])
def test_a_scan_trains_as_its_steps_do_and_the_loss_falls(name):
    workload = WORKLOADS[name]
    side, channels = workload.image_shape
    pixels = jnp.asarray(RANDOM.integers(0, 2, (12, side, side, channels), np.uint8) * 255)
    order = jax.random.permutation(jax.random.key(1), 12)
    numbers, key = np.arange(3, dtype=np.int32), jax.random.key(2)
    trainer = jax_loop.Trainer(workload, in_loop=True)
    init = jax.jit(trainer.init)
    call = jax_loop.make_call(trainer, 4)
    scanned, mean_loss = call(init(jax.random.key(0)), pixels, order, key, numbers)
    stepped, losses = init(jax.random.key(0)), []
    for number in numbers:
        stepped, loss = call(stepped, pixels, order, key, numbers[number : number + 1])
        losses.append(float(loss))
    assert mean_loss == pytest.approx(np.mean(losses), rel=1e-5)
    for one, other in zip(jax.tree.leaves(scanned), jax.tree.leaves(stepped), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    black, losses = jnp.zeros_like(pixels), []
    for _ in range(5):
        stepped, loss = call(stepped, black, order, key, numbers)
        losses.append(float(loss))
    assert losses == sorted(losses, reverse=True)
    # Adam counts all steps, of both optimizers.
    counts = {int(leaf) for leaf in jax.tree.leaves(stepped[1]) if leaf.dtype == jnp.int32}
    assert counts == {3 + 15}
