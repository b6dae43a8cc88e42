"""The nets of the workloads in PyTorch, for pythae and for the plain loop.

They have the layers and parameters of vaeflow's. What differs: images are `[B, C, H, W]`, features are
flattened in that order, and a 3x3 convolution of stride 2 pads one pixel on both sides, where
TensorFlow pads on the far side only.
"""

import math

from torch import nn


def make(workload):
    """Returns the encoder, the decoder, and the discriminator or None, of a `Workload`."""
    side, channels = workload.image_shape
    encoder_of, decoder_of = _KINDS[workload.kind]
    trunk, num_features = encoder_of(workload, side, channels)
    encoder = GaussianEncoder(trunk, num_features, workload.num_latents)
    decoder = decoder_of(workload, side, channels)
    units = workload.discriminator_units
    return encoder, decoder, discriminator(workload.num_latents, units) if units else None


def num_parameters(*modules):
    """Counts the trainable numbers of modules."""
    return sum(each.numel() for module in modules for each in module.parameters() if each.requires_grad)


class GaussianEncoder(nn.Module):
    """A trunk and two linear heads: images `[B, C, H, W]` to mean and log variance, `[B, D]` each."""

    def __init__(self, trunk, num_features, num_latents):
        super().__init__()
        self.trunk = trunk
        self.mean = nn.Linear(num_features, num_latents)
        self.log_variance = nn.Linear(num_features, num_latents)

    def forward(self, images):
        features = self.trunk(images)
        return self.mean(features), self.log_variance(features)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, normalized and activated before."""

    def __init__(self, channels, filters):
        super().__init__()
        self.blocks = nn.Sequential(
            _group_normalization(channels),
            nn.SiLU(),
            nn.Conv2d(channels, filters, 3, padding=1),
            _group_normalization(filters),
            nn.SiLU(),
            nn.Conv2d(filters, filters, 3, padding=1),
        )
        self.shortcut = nn.Identity() if channels == filters else nn.Conv2d(channels, filters, 1)

    def forward(self, features):
        return self.shortcut(features) + self.blocks(features)


def discriminator(num_latents, units):
    """Makes a net from latents `[B, D]` to one logit each, `[B, 1]`."""
    layers, width = [], num_latents
    for unit in units:
        layers += [nn.Linear(width, unit), nn.LeakyReLU(0.2)]
        width = unit
    return nn.Sequential(*layers, nn.Linear(width, 1))


def _dense_encoder(workload, side, channels):
    layers, width = _dense_layers(side * side * channels, workload.units)
    return nn.Sequential(nn.Flatten(), *layers), width


def _dense_decoder(workload, side, channels):
    layers, width = _dense_layers(workload.num_latents, workload.units)
    shape = (channels, side, side)
    return nn.Sequential(*layers, nn.Linear(width, math.prod(shape)), nn.Unflatten(1, shape))


def _conv_encoder(workload, side, channels):
    layers = []
    for filters, kernel_size in zip(workload.filters, workload.kernel_sizes, strict=True):
        layers += [nn.Conv2d(channels, filters, kernel_size, 2, padding=(kernel_size - 2) // 2), nn.ReLU()]
        side, channels = side // 2, filters
    dense, width = _dense_layers(side * side * channels, workload.units)
    return nn.Sequential(*layers, nn.Flatten(), *dense), width


def _conv_decoder(workload, side, channels):
    filters = workload.filters[::-1]
    smallest = side // 2 ** len(filters)
    shape = (filters[0], smallest, smallest)
    layers, _ = _dense_layers(workload.num_latents, (*workload.units, math.prod(shape)))
    layers.append(nn.Unflatten(1, shape))
    for count, following in zip(filters, (*filters[1:], channels), strict=True):
        layers += [nn.ConvTranspose2d(count, following, 4, 2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _resnet_encoder(workload, side, channels):
    layers = []
    for filters in workload.filters:
        layers += [nn.Conv2d(channels, filters, 3, 2, padding=1), ResidualBlock(filters, filters)]
        side, channels = side // 2, filters
    (units,) = workload.units
    layers += [nn.SiLU(), nn.Flatten(), nn.Linear(side * side * channels, units), nn.SiLU()]
    return nn.Sequential(*layers), units


def _resnet_decoder(workload, side, channels):
    filters = workload.filters[::-1]
    smallest = side // 2 ** len(filters)
    shape = (filters[0], smallest, smallest)
    layers, width = [nn.Linear(workload.num_latents, math.prod(shape)), nn.Unflatten(1, shape)], filters[0]
    for count in filters:
        layers += [ResidualBlock(width, count), nn.Upsample(scale_factor=2)]
        width = count
    return nn.Sequential(
        *layers, _group_normalization(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1)
    )


_KINDS = {
    "dense": (_dense_encoder, _dense_decoder),
    "conv": (_conv_encoder, _conv_decoder),
    "resnet": (_resnet_encoder, _resnet_decoder),
}


def _dense_layers(width, units):
    layers = []
    for unit in units:
        layers += [nn.Linear(width, unit), nn.ReLU()]
        width = unit
    return layers, width


def _group_normalization(channels):
    return nn.GroupNorm(math.gcd(8, channels), channels, eps=1e-3)
