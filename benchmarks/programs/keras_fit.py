"""Keras: `Model.fit` with a `train_step`, as Keras' guides write a VAE; vaeflow has no part in it.

Everything is at its default, so `fit` compiles the step with XLA. The input is `tf.data`: shuffle,
batch, scale, prefetch. Nets, loss, and what the discriminator of a FactorVAE sees are vaeflow's; the
noise is Keras' own. Its resume is Keras' `BackupAndRestore`.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from benchmarks import protocol, sprites
from benchmarks.programs import keras_nets
from benchmarks.workloads import WORKLOADS

_GAMMA = 30.0
_SHUFFLE_BUFFER = 1024
# Far more than any benchmark trains.
_NUM_EPOCHS = 1_000_000


class VAE(keras.Model):
    """A VAE as one writes it by hand."""

    def __init__(self, encoder, decoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.seed_generator = keras.random.SeedGenerator(0)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.reconstruction_tracker = keras.metrics.Mean(name="reconstruction_loss")
        self.kl_tracker = keras.metrics.Mean(name="kl")
        self.built = True

    @property
    def metrics(self):
        return [self.loss_tracker, self.reconstruction_tracker, self.kl_tracker]

    def train_step(self, images):
        with tf.GradientTape() as tape:
            loss, _ = self.forward(images)
        variables = self.encoder.trainable_variables + self.decoder.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {metric.name: metric.result() for metric in self.metrics}

    def forward(self, images):
        """Returns the negative ELBO, a scalar, and the latents; tracks both terms."""
        mean, log_variance = self.encoder(images, training=True)
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        latents = mean + ops.exp(0.5 * log_variance) * noise
        logits = self.decoder(latents, training=True)
        cross_entropy = ops.binary_crossentropy(images, logits, from_logits=True)
        reconstruction_loss = ops.mean(ops.sum(cross_entropy, axis=(1, 2, 3)))
        kl = -0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance))
        kl = ops.mean(ops.sum(kl, axis=1))
        loss = reconstruction_loss + kl
        self.loss_tracker.update_state(loss)
        self.reconstruction_tracker.update_state(reconstruction_loss)
        self.kl_tracker.update_state(kl)
        return loss, latents


class FactorVAE(VAE):
    """A VAE with a discriminator that has an optimizer of its own."""

    def __init__(self, encoder, decoder, discriminator):
        super().__init__(encoder, decoder)
        self.discriminator = discriminator
        self.discriminator_optimizer = keras.optimizers.Adam(1e-4, beta_1=0.5, beta_2=0.9)
        self.discriminator_optimizer.build(discriminator.trainable_variables)

    def train_step(self, images):
        with tf.GradientTape(persistent=True) as tape:
            loss, latents = self.forward(images)
            orders = ops.argsort(keras.random.uniform(ops.shape(latents), seed=self.seed_generator), axis=0)
            permuted = ops.take_along_axis(tf.stop_gradient(latents), orders, axis=0)
            logits = self.discriminator(ops.concatenate([latents, permuted]), training=True)
            logits, permuted_logits = ops.split(logits, 2)
            loss += _GAMMA * ops.mean(logits)
            discriminator_loss = 0.5 * ops.mean(ops.softplus(-logits) + ops.softplus(permuted_logits))
        variables = self.encoder.trainable_variables + self.decoder.trainable_variables
        gradients = tape.gradient(loss, variables)
        own_variables = self.discriminator.trainable_variables
        own_gradients = tape.gradient(discriminator_loss, own_variables)
        self.optimizer.apply(gradients, variables)
        self.discriminator_optimizer.apply(own_gradients, own_variables)
        return {metric.name: metric.result() for metric in self.metrics}


class Watch(keras.callbacks.Callback):
    """Counts after each step, sleeps between the windows, and has the state saved at the end."""

    def __init__(self, session, batch_size, backup):
        super().__init__()
        self.session = session
        self.batch_size = batch_size
        self.backup = backup

    def on_train_begin(self, logs=None):  # noqa: ARG002 -- Keras' signature
        # `BackupAndRestore` has restored before.
        self.session.facts["resumed_at"] = int(self.model.optimizer.iterations)

    def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002 -- Keras' signature
        try:
            self.session.after_step(self.batch_size)
        except protocol.EndedError:
            self.backup.save_freq = 1
            self.backup.on_train_batch_end(batch)
            self.model.stop_training = True


def make_model(workload):
    """Makes the compiled model of a workload."""
    encoder, decoder, discriminator = keras_nets.make(workload)
    model = VAE(encoder, decoder) if discriminator is None else FactorVAE(encoder, decoder, discriminator)
    model.compile(optimizer=keras.optimizers.Adam(workload.learning_rate))
    model.optimizer.build(encoder.trainable_variables + decoder.trainable_variables)
    return model


def make_input(pixels, batch_size):
    """Makes the `tf.data` input of images `[N, H, W, C]`, uint8."""
    images = tf.data.Dataset.from_tensor_slices(pixels).shuffle(_SHUFFLE_BUFFER)
    batches = images.batch(batch_size, drop_remainder=True)
    return batches.map(lambda batch: tf.cast(batch, tf.float32) / 255.0, tf.data.AUTOTUNE).prefetch(
        tf.data.AUTOTUNE
    )


def main():
    """Trains when the runner asks for it; see `benchmarks.protocol`."""
    arguments = protocol.arguments()
    workload = WORKLOADS[arguments.workload]
    session = protocol.Session()
    keras.utils.set_random_seed(0)
    model = make_model(workload)
    session.facts["parameters"] = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    # Saves when `Watch` asks it to: each epoch would cost what no other program pays.
    backup = keras.callbacks.BackupAndRestore(arguments.folder, save_freq=10**12, delete_checkpoint=False)
    pixels = np.load(sprites.array_path(workload.array))
    model.fit(
        make_input(pixels, workload.batch_size),
        epochs=_NUM_EPOCHS,
        verbose=0,
        callbacks=[backup, Watch(session, workload.batch_size, backup)],
    )


if __name__ == "__main__":
    main()
