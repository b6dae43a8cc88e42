"""Plain PyTorch: the loop one writes by hand, eager, in channels_last, or with `torch.compile`.

On a GPU, products of float32 take TensorFloat-32 as TensorFlow's and JAX's do, and `compile_graphs` replays
each compiled function as a CUDA graph. bfloat16 is autocast.

The data is held as uint8, and a batch is gathered from it by a permutation of each epoch. Adam is PyTorch's
fused one: a sixth of the processor time of its default on 5.7 million parameters. Nets, loss, and what the
discriminator of a FactorVAE sees are vaeflow's, but the discriminator's own step comes after the VAE's and
runs the net anew. It has no resume of its own: `torch.save` and `torch.load` of the nets' and optimizers'
states are what PyTorch offers.
"""

import functools
import pathlib

import numpy as np
import torch
from torch.nn import functional

from benchmarks import protocol, sprites
from benchmarks.programs import torch_nets
from benchmarks.workloads import WORKLOADS

_GAMMA = 30.0


class Trainer:
    """Holds nets and optimizers, and trains a step at a time.

    Args:
      workload: a `Workload`.
      memory_format: of the nets' weights and of the images.
      wrap: makes of a net and its loss, a function, the function that is called in its place.
      device: `"cpu"` or `"cuda"`.
      is_mixed: whether the nets compute in bfloat16 what autocast lets them.
    """

    def __init__(self, workload, memory_format, wrap=lambda _, loss: loss, device="cpu", is_mixed=False):
        nets = torch_nets.make(workload)
        self.encoder, self.decoder, self.discriminator = (each and each.to(device) for each in nets)
        self.autocast = functools.partial(torch.autocast, device, torch.bfloat16, is_mixed)
        self.memory_format = memory_format
        vae = torch.nn.ModuleList([self.encoder, self.decoder])
        vae.to(memory_format=memory_format)
        self.nets = [vae] if self.discriminator is None else [vae, self.discriminator]
        self.optimizers = [torch.optim.Adam(vae.parameters(), workload.learning_rate, fused=True)]
        if self.discriminator is not None:
            own_parameters = self.discriminator.parameters()
            self.optimizers.append(torch.optim.Adam(own_parameters, 1e-4, (0.5, 0.9), fused=True))
            self.discriminator_loss = wrap(self.discriminator, self._discriminator_loss)
        self.loss = wrap(vae, self._loss)

    def step(self, pixels):
        """Trains on images `[B, C, H, W]`, uint8."""
        images = pixels.to(memory_format=self.memory_format).float() / 255.0
        if self.discriminator is not None:
            # It is moved by its own loss only.
            self.discriminator.requires_grad_(False)
        with self.autocast():
            loss, latents = self.loss(images)
        self._update(self.optimizers[0], loss)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
            latents = latents.detach()
            orders = torch.rand_like(latents).argsort(dim=0)
            permuted = latents.gather(0, orders)
            with self.autocast():
                loss = self.discriminator_loss(latents, permuted)
            self._update(self.optimizers[1], loss)

    def state(self):
        """Returns all that the future of the training depends on, but the step."""
        return [each.state_dict() for each in (*self.nets, *self.optimizers)]

    def restore(self, states):
        """Takes over what `state` returned."""
        for each, state in zip((*self.nets, *self.optimizers), states, strict=True):
            each.load_state_dict(state)

    def _loss(self, images):
        mean, log_variance = (each.float() for each in self.encoder(images))
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        logits = self.decoder(latents).float()
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, images, reduction="none")
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)
        losses = cross_entropy.flatten(1).sum(1) + kl
        if self.discriminator is not None:
            losses = losses + _GAMMA * self.discriminator(latents).float().squeeze(1)
        return losses.mean(), latents

    def _discriminator_loss(self, latents, permuted):
        logits = self.discriminator(torch.cat([latents, permuted])).float()
        logits, permuted_logits = logits.squeeze(1).chunk(2)
        return 0.5 * (functional.softplus(-logits) + functional.softplus(permuted_logits)).mean()

    def _update(self, optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def batches(pixels, batch_size):
    """Gives the images of one permutation after the other, without end."""
    while True:
        for indices in torch.randperm(len(pixels), device=pixels.device).split(batch_size):
            yield pixels[indices]


def main():
    """Trains when the runner asks for it; see `benchmarks.protocol`."""
    arguments = protocol.arguments()
    workload = WORKLOADS[arguments.workload]
    session = protocol.Session()
    torch.manual_seed(0)
    pixels = torch.from_numpy(np.load(sprites.array_path(workload.array)).transpose(0, 3, 1, 2))
    device = "cuda" if arguments.device == "gpu" else "cpu"
    torch.set_float32_matmul_precision("highest" if device == "cpu" else "high")
    compiled = arguments.variant.startswith("compile")
    channels_last = arguments.variant == "channels_last" or (compiled and workload.kind != "dense")
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    pixels = pixels.contiguous(memory_format=memory_format).to(device)
    mode = "reduce-overhead" if arguments.variant == "compile_graphs" else "default"
    trainer = Trainer(
        workload,
        memory_format,
        lambda _, loss: torch.compile(loss, mode=mode) if compiled else loss,
        device,
        arguments.precision == "bfloat16",
    )
    step, saved = 0, pathlib.Path(arguments.folder, "state.pt")
    if saved.exists():
        step, states = torch.load(saved)
        trainer.restore(states)
    session.facts |= {"parameters": torch_nets.num_parameters(*trainer.nets), "resumed_at": step}
    finish = torch.cuda.synchronize if device == "cuda" else lambda: None
    try:
        for images in batches(pixels, workload.batch_size):
            trainer.step(images)
            step += 1
            session.after_step(len(images), finish=finish)
    except protocol.EndedError:
        torch.save((step, trainer.state()), saved)


if __name__ == "__main__":
    main()
