"""Keras on its JAX backend: `Model.fit` with a stateless `train_step`, as Keras' guides write it.

Everything is at its default, so `fit` compiles the step. The input is the array itself, which `fit`
shuffles and cuts; the step scales the images. Nets, loss, and what the discriminator of a FactorVAE sees are
vaeflow's; the noise is Keras' own.
"""

import contextlib
import math

import jax
import keras
import numpy as np
from keras import ops

from benchmarks import protocol, sprites
from benchmarks.programs import keras_nets
from benchmarks.workloads import WORKLOADS

_GAMMA = 30.0
# Far more than any benchmark trains.
_NUM_EPOCHS = 1_000_000


class VAE(keras.Model):
    """A VAE as one writes it by hand."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.seed_generator = keras.random.SeedGenerator(0)
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", "reconstruction_loss", "kl")]
        self.built = True

    @property
    def metrics(self):
        return self.trackers

    def call(self, images):
        """Returns the reconstruction loss and the KL divergence, scalars, and the latents."""
        mean, log_variance = self.encoder(images, training=True)
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        latents = mean + ops.exp(0.5 * log_variance) * noise
        logits = self.decoder(latents, training=True)
        cross_entropy = ops.binary_crossentropy(images, logits, from_logits=True)
        kl = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        return ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3))), ops.mean(ops.sum(kl, axis=1)), latents

    def vae_loss(self, variables, others, pixels):
        """Returns the negative ELBO, a scalar, and (its terms, what else `call` gave, the next `others`)."""
        outputs, others = self.stateless_call(variables, others, ops.cast(pixels, "float32") / 255.0)
        reconstruction_loss, kl, *more = outputs
        loss = reconstruction_loss + kl
        return loss, ((loss, reconstruction_loss, kl), more, others)

    def train_step(self, state, pixels):
        variables, others, optimizer_variables, metrics_variables = state
        compute = jax.value_and_grad(self.vae_loss, has_aux=True)
        (_, (terms, _, others)), gradients = compute(variables, others, pixels)
        variables, optimizer_variables = self.optimizer.stateless_apply(
            optimizer_variables, gradients, variables
        )
        logs, metrics_variables = self.track(terms, metrics_variables)
        return logs, (variables, others, optimizer_variables, metrics_variables)

    def track(self, terms, variables):
        """Adds the terms to their means; returns these by name, and the metrics' variables."""
        logs, tracked = {}, []
        for metric, term in zip(self.metrics, terms, strict=True):
            own, variables = variables[: len(metric.variables)], variables[len(metric.variables) :]
            own = metric.stateless_update_state(own, term)
            logs[metric.name] = metric.stateless_result(own)
            tracked += own
        return logs, tracked


class FactorVAE(VAE):
    """A VAE with a discriminator that has an optimizer of its own."""

    def __init__(self, encoder, decoder, discriminator):
        super().__init__(encoder, decoder)
        self.discriminator = discriminator
        self.discriminator_optimizer = keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)
        self.discriminator_optimizer.build(discriminator.trainable_variables)

    @property
    def non_trainable_variables(self):
        # `fit` knows the state of one optimizer only; the other's goes with these.
        return super().non_trainable_variables + self.discriminator_optimizer.variables

    def call(self, images):
        """Returns what a VAE's does, and permuted latents."""
        reconstruction_loss, kl, latents = super().call(images)
        orders = ops.argsort(keras.random.uniform(ops.shape(latents), seed=self.seed_generator), axis=0)
        return reconstruction_loss, kl, latents, ops.take_along_axis(latents, orders, axis=0)

    def factor_vae_loss(self, variables, own_variables, others, pixels):
        """Returns the loss with the total correlation, and what `vae_loss` returns in addition."""
        loss, more = self.vae_loss([*variables, *own_variables], others, pixels)
        latents = more[1][0]
        logits, _ = self.discriminator.stateless_call(own_variables, [], latents)
        return loss + _GAMMA * ops.mean(logits), more

    def discriminator_loss(self, own_variables, latents, permuted):
        """Returns how badly the discriminator tells latents from permuted ones."""
        logits, _ = self.discriminator.stateless_call(own_variables, [], ops.concatenate([latents, permuted]))
        logits, permuted_logits = ops.split(logits, 2)
        return 0.5 * ops.mean(ops.softplus(-logits) + ops.softplus(permuted_logits))

    def train_step(self, state, pixels):
        variables, others, optimizer_variables, metrics_variables = state
        variables, own_variables = _without_last(variables, len(self.discriminator.trainable_variables))
        compute = jax.value_and_grad(self.factor_vae_loss, has_aux=True)
        (_, (terms, latents, others)), gradients = compute(variables, own_variables, others, pixels)
        own_gradients = jax.grad(self.discriminator_loss)(own_variables, *latents)
        variables, optimizer_variables = self.optimizer.stateless_apply(
            optimizer_variables, gradients, variables
        )
        others, own_state = _without_last(others, len(self.discriminator_optimizer.variables))
        own_variables, own_state = self.discriminator_optimizer.stateless_apply(
            own_state, own_gradients, own_variables
        )
        logs, metrics_variables = self.track(terms, metrics_variables)
        state = ([*variables, *own_variables], [*others, *own_state], optimizer_variables, metrics_variables)
        return logs, state


class Watch(keras.callbacks.Callback):
    """Counts after each step, and sleeps between the windows."""

    def __init__(self, session, batch_size):
        super().__init__()
        self.session = session
        self.batch_size = batch_size
        self.last = None

    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002 -- Keras' signature
        # JAX computes while Python goes on: one step ahead here, and none when a window ends.
        jax.block_until_ready(self.last)
        self.last = logs
        self.session.after_step(self.batch_size, finish=lambda: jax.block_until_ready(logs))


def make_model(workload):
    """Makes the compiled model of a workload."""
    encoder, decoder, discriminator = keras_nets.make(workload)
    model = VAE(encoder, decoder) if discriminator is None else FactorVAE(encoder, decoder, discriminator)
    model.compile(optimizer=keras.optimizers.Adam(workload.learning_rate))
    model.optimizer.build(encoder.trainable_variables + decoder.trainable_variables)
    return model


def main():
    """Trains when the runner asks for it; see `benchmarks.protocol`."""
    arguments = protocol.arguments()
    workload = WORKLOADS[arguments.workload]
    session = protocol.Session()
    keras.utils.set_random_seed(0)
    model = make_model(workload)
    session.facts["parameters"] = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    pixels = np.load(sprites.array_path(workload.array))
    with contextlib.suppress(protocol.EndedError):
        model.fit(
            pixels,
            batch_size=workload.batch_size,
            epochs=_NUM_EPOCHS,
            verbose=0,
            callbacks=[Watch(session, workload.batch_size)],
        )


def _without_last(values, count):
    """Returns all values but the last `count`, and these."""
    return values[:-count], values[-count:]


if __name__ == "__main__":
    main()
