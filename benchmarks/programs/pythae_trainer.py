"""pythae 0.1.2: its own VAE or FactorVAE, trainer and data loader, at their defaults.

The nets are those of `torch_nets`. The loss is as vaeflow's, but the cross-entropy is computed on
probabilities, after a sigmoid, as pythae has it. pythae's FactorVAE trains the VAE on one half of a
batch and takes the permuted latents from the other, so only 32 of 64 images are decoded and each is
seen once by the discriminator; the discriminator's loss also runs back through the encoder. Its two
logits are the net's one and a constant 0, which makes the same loss with the same parameters.
"""

import contextlib

import numpy as np
import torch
from pythae.data.preprocessors import DataProcessor
from pythae.models import VAE, FactorVAE, FactorVAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig, BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn

from benchmarks import protocol, sprites
from benchmarks.programs import torch_nets
from benchmarks.workloads import WORKLOADS

# Far more than any benchmark trains.
_NUM_EPOCHS = 1_000_000


class Encoder(BaseEncoder):
    """Gives a net's mean and log variance the names that pythae reads."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        mean, log_variance = self.net(images)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Gives a net's probabilities the name that pythae reads."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, latents):
        return ModelOutput(reconstruction=torch.sigmoid(self.net(latents)))


class Discriminator(BaseDiscriminator):
    """Makes two logits `[B, 2]` of a net's one."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, latents):
        return nn.functional.pad(self.net(latents), (0, 1))


class Watch(TrainingCallback):
    """Counts after each step, and sleeps between the windows."""

    def __init__(self, session, batch_size):
        self.session = session
        self.batch_size = batch_size

    def on_train_step_end(self, training_config, **kwargs):  # noqa: ARG002 -- pythae's signature
        self.session.after_step(self.batch_size)


def make_model(workload):
    """Makes pythae's model of a workload."""
    side, channels = workload.image_shape
    encoder, decoder, discriminator = torch_nets.make(workload)
    config, model = (FactorVAEConfig, FactorVAE) if discriminator else (VAEConfig, VAE)
    settings = {
        "input_dim": (channels, side, side),
        "latent_dim": workload.num_latents,
        "reconstruction_loss": "bce",
    }
    if discriminator:
        settings["gamma"] = 30.0
    made = model(config(**settings), Encoder(encoder), Decoder(decoder))
    if discriminator:
        made.set_discriminator(Discriminator(discriminator))
    return made


def make_trainer(model, workload, dataset, folder, callbacks):
    """Makes pythae's trainer of a model."""
    common = {
        "output_dir": folder,
        "per_device_train_batch_size": workload.batch_size,
        "num_epochs": _NUM_EPOCHS,
    }
    if workload.discriminator_units:
        config = AdversarialTrainerConfig(
            **common,
            autoencoder_learning_rate=workload.learning_rate,
            discriminator_learning_rate=1e-4,
            discriminator_optimizer_params={"betas": (0.5, 0.9)},
        )
        return AdversarialTrainer(model, dataset, training_config=config, callbacks=callbacks)
    config = BaseTrainerConfig(**common, learning_rate=workload.learning_rate)
    return BaseTrainer(model, dataset, training_config=config, callbacks=callbacks)


def main():
    """Trains when the runner asks for it; see `benchmarks.protocol`."""
    arguments = protocol.arguments()
    workload = WORKLOADS[arguments.workload]
    session = protocol.Session()
    images = np.load(sprites.array_path(workload.array)).transpose(0, 3, 1, 2)
    processor = DataProcessor()
    dataset = processor.to_dataset(processor.process_data(images.astype(np.float32) / 255.0))
    model = make_model(workload)
    session.facts["parameters"] = torch_nets.num_parameters(model)
    watch = Watch(session, workload.batch_size)
    trainer = make_trainer(model, workload, dataset, arguments.folder, [watch])
    with contextlib.suppress(protocol.EndedError):
        trainer.train()


if __name__ == "__main__":
    main()
