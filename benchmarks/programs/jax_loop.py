"""JAX: a training loop as one writes it by hand, with optax; a jitted step, or `lax.scan` over many.

The images lie on the device as uint8, with the permutation of an epoch. `step` is called with the number of
a batch and gathers it, `scan` trains `steps_per_call` of them in one call. Parameters and the optimizers'
states are donated. Nets, loss, and what the discriminator of a FactorVAE sees are vaeflow's.
"""

import contextlib
import functools
import sys

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp

from benchmarks import protocol, sprites
from benchmarks.programs import jax_nets
from benchmarks.workloads import WORKLOADS

_GAMMA = 30.0


class Trainer:
    """The functions that train the nets of a workload; all state is in what `init` returns.

    Args:
      workload: a `Workload`.
      in_loop: whether the steps are the body of a compiled loop.
      dtype: what the nets compute in; parameters, latents and losses are float32.
    """

    def __init__(self, workload, in_loop, dtype=jnp.float32):
        self._workload = workload
        self._dtype = dtype
        self._nets = jax_nets.make(workload, in_loop)
        self._optimizer = optax.adam(workload.learning_rate)
        self._discriminator_optimizer = optax.adam(1e-4, 0.5, 0.9)

    def init(self, key):
        """Makes the state of a training: parameters, and states of the optimizers."""
        vae, *discriminator = self._split(jax_nets.init(self._nets, self._workload, key))
        states = [self._optimizer.init(vae), *map(self._discriminator_optimizer.init, discriminator)]
        return [vae, *discriminator], states

    def step(self, state, pixels, key):
        """Trains on images `[B, H, W, C]`, uint8; returns the next state and the loss."""
        parameters, states = state
        images = pixels.astype(jnp.float32) / 255.0
        noise_key, order_key = jax.random.split(key)
        compute = jax.value_and_grad(self.loss, has_aux=True)
        noise = jax.random.normal(noise_key, (len(images), self._workload.num_latents))
        (loss, latents), gradients = compute(parameters[0], parameters[1:], images, noise)
        done = [_updated(self._optimizer, gradients, states[0], parameters[0])]
        if self._nets.discriminator is not None:
            permuted = jax.random.permutation(order_key, latents, independent=True)
            gradients = jax.grad(self.discriminator_loss)(parameters[1], latents, permuted)
            done.append(_updated(self._discriminator_optimizer, gradients, states[1], parameters[1]))
        return tuple(map(list, zip(*done, strict=True))), loss

    def loss(self, vae, discriminator, images, noise):
        """Returns the negative ELBO, with the total correlation of a FactorVAE, and the latents."""
        heads = self._apply(self._nets.encoder, vae[0], images)
        mean, log_variance = heads[:, 0], heads[:, 1]
        latents = mean + jnp.exp(0.5 * log_variance) * noise
        logits = self._apply(self._nets.decoder, vae[1], latents)
        cross_entropy = optax.sigmoid_binary_cross_entropy(logits, images).sum((1, 2, 3))
        kl = -0.5 * (1 + log_variance - jnp.square(mean) - jnp.exp(log_variance)).sum(1)
        losses = cross_entropy + kl
        if discriminator:
            losses += _GAMMA * self._apply(self._nets.discriminator, discriminator[0], latents)[:, 0]
        return losses.mean(), latents

    def discriminator_loss(self, discriminator, latents, permuted):
        """Returns how badly the discriminator tells latents from permuted ones."""
        inputs = jnp.concatenate([latents, permuted])
        logits = self._apply(self._nets.discriminator, discriminator, inputs)
        logits, permuted_logits = jnp.split(logits, 2)
        return 0.5 * (jax.nn.softplus(-logits) + jax.nn.softplus(permuted_logits)).mean()

    def _apply(self, net, parameters, inputs):
        parameters, inputs = jax.tree.map(lambda leaf: leaf.astype(self._dtype), (parameters, inputs))
        return net.apply(parameters, inputs).astype(jnp.float32)

    def _split(self, parameters):
        return [parameters[:2], *parameters[2:]]


def _updated(optimizer, gradients, state, parameters):
    updates, state = optimizer.update(gradients, state, parameters)
    return optax.apply_updates(parameters, updates), state


def make_call(trainer, batch_size):
    """Makes the compiled function that trains.

    Returns:
      A function from a state, all images, the order of an epoch, the key of its noise, and the numbers of
      `[K]` batches in it, to the next state and the mean loss.
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def call(state, pixels, order, key, numbers):
        def step(state, number):
            indices = lax.dynamic_slice_in_dim(order, number * batch_size, batch_size)
            return trainer.step(state, pixels[indices], jax.random.fold_in(key, number))

        if len(numbers) == 1:
            return step(state, numbers[0])
        state, losses = lax.scan(step, state, numbers)
        return state, losses.mean()

    return call


def main():
    """Trains when the runner asks for it; see `benchmarks.protocol`."""
    arguments = protocol.arguments()
    workload = WORKLOADS[arguments.workload]
    session = protocol.Session()
    if arguments.device == "gpu" and jax.default_backend() == "cpu":
        sys.exit("JAX sees no GPU")
    in_loop = arguments.variant == "scan"
    trainer = Trainer(workload, in_loop, jnp.dtype(arguments.precision))
    pixels = jnp.asarray(np.load(sprites.array_path(workload.array)))
    state = jax.jit(trainer.init)(jax.random.key(0))
    session.facts["parameters"] = jax_nets.num_parameters(state[0])
    call = make_call(trainer, workload.batch_size)
    steps = workload.steps_per_call if in_loop else 1
    permuted = jax.jit(functools.partial(jax.random.permutation, x=len(pixels)))
    parts = np.arange(len(pixels) // workload.batch_size, dtype=np.int32)
    parts = parts[: len(parts) // steps * steps].reshape(-1, steps)
    epoch_key, last = jax.random.key(1), jnp.zeros(())
    with contextlib.suppress(protocol.EndedError):
        while True:
            epoch_key, key = jax.random.split(epoch_key)
            order = permuted(key)
            for numbers in parts:
                state, loss = call(state, pixels, order, key, numbers)
                # A call is begun while the one before still computes, but no sooner.
                last.block_until_ready()
                last = loss
                session.after_step(steps * workload.batch_size, steps, loss.block_until_ready)


if __name__ == "__main__":
    main()
