"""The nets of the workloads in plain JAX: NHWC images, HWIO kernels, parameters as lists.

They have the layers and parameters of vaeflow's; a layer is a pair of functions.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
from jax import numpy as jnp

from benchmarks.programs import jax_convolutions

_EPSILON = 1e-3  # Of group normalization, as Keras has it.
_glorot_uniform = jax.nn.initializers.glorot_uniform()


class Layer(NamedTuple):
    """A layer of a net.

    Attributes:
      init: maps a key and the shape of the inputs, without the batch, to parameters and the outputs' shape.
      apply: maps parameters and inputs to outputs.
    """

    init: Callable
    apply: Callable


class Nets(NamedTuple):
    """The nets of a workload.

    Attributes:
      encoder: maps images `[B, H, W, C]` to mean and log variance, `[B, 2, D]`.
      decoder: maps latents `[B, D]` to logits `[B, H, W, C]`.
      discriminator: maps latents `[B, D]` to one logit, `[B, 1]`, or None.
    """

    encoder: Layer
    decoder: Layer
    discriminator: Layer | None


def make(workload, in_loop):
    """Makes the nets of a workload.

    Args:
      workload: a `Workload`.
      in_loop: whether they are part of the body of a compiled loop.

    Returns:
      `Nets`.
    """
    encoder_trunk, decoder = _KINDS[workload.kind]
    convolve = functools.partial(convolution, in_loop=in_loop)
    # One product for both heads: the parameters of two.
    heads = [dense(2 * workload.num_latents), reshape((2, workload.num_latents))]
    units = workload.discriminator_units
    return Nets(
        serial(*encoder_trunk(workload, convolve), *heads),
        serial(*decoder(workload, convolve)),
        serial(*_dense_stack(units, leaky_relu), dense(1)) if units else None,
    )


def init(nets, workload, key):
    """Makes the parameters of `Nets`, a list with those of each net that there is."""
    side, channels = workload.image_shape
    latents = (workload.num_latents,)
    shapes = ((side, side, channels), latents, latents)
    keys = jax.random.split(key, len(nets))
    return [
        net.init(key, shape)[0] for net, key, shape in zip(nets, keys, shapes, strict=True) if net is not None
    ]


def num_parameters(parameters):
    """Counts the numbers in a tree of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


def serial(*layers):
    """Makes a layer that applies others in turn."""

    def init(key, shape):
        parameters = []
        for each, layer in zip(jax.random.split(key, len(layers)), layers, strict=True):
            found, shape = layer.init(each, shape)
            parameters.append(found)
        return parameters, shape

    def apply(parameters, value):
        for each, layer in zip(parameters, layers, strict=True):
            value = layer.apply(each, value)
        return value

    return Layer(init, apply)


def elementwise(function):
    """Makes a layer without parameters that keeps the shape."""
    return Layer(lambda _, shape: ([], shape), lambda _, value: function(value))


relu = elementwise(jax.nn.relu)
silu = elementwise(jax.nn.silu)
leaky_relu = elementwise(lambda value: jax.nn.leaky_relu(value, 0.2))


def reshape(shape):
    """Makes a layer that gives each example another shape."""
    return Layer(lambda _, __: ([], shape), lambda _, value: value.reshape(-1, *shape))


flatten = Layer(lambda _, shape: ([], (math.prod(shape),)), lambda _, value: value.reshape(len(value), -1))


def dense(units):
    """Makes a dense layer."""

    def init(key, shape):
        (width,) = shape
        return [_glorot_uniform(key, (width, units)), jnp.zeros(units)], (units,)

    return Layer(init, lambda parameters, value: value @ parameters[0] + parameters[1])


def convolution(filters, size, stride=1, in_loop=False):
    """Makes a convolution with the padding SAME; see `jax_convolutions`."""

    def init(key, shape):
        height, width, channels = shape
        kernel = _glorot_uniform(key, (size, size, channels, filters))
        return [kernel, jnp.zeros(filters)], (height // stride, width // stride, filters)

    def apply(parameters, value):
        kernel, bias = parameters
        return jax_convolutions.convolution(value, kernel, stride, in_loop) + bias

    return Layer(init, apply)


def transposed_convolution(filters):
    """Makes a transposed convolution of size 4, stride 2 and padding SAME."""

    def init(key, shape):
        height, width, channels = shape
        kernel = _glorot_uniform(key, (4, 4, channels, filters))
        return [kernel, jnp.zeros(filters)], (2 * height, 2 * width, filters)

    def apply(parameters, value):
        kernel, bias = parameters
        return jax_convolutions.transposed_convolution(value, kernel) + bias

    return Layer(init, apply)


def group_normalization():
    """Makes a group normalization over 8 groups, or as many as divide the channels."""

    def init(_, shape):
        return [jnp.ones(shape[-1]), jnp.zeros(shape[-1])], shape

    def apply(parameters, value):
        scale, offset = parameters
        num_groups = math.gcd(8, value.shape[-1])
        groups = value.reshape(*value.shape[:3], num_groups, -1)
        # In one pass, as Flax does it.
        mean = groups.mean((1, 2, 4), keepdims=True)
        variance = jnp.square(groups).mean((1, 2, 4), keepdims=True) - jnp.square(mean)
        groups = (groups - mean) * lax.rsqrt(variance + _EPSILON)
        return groups.reshape(value.shape) * scale + offset

    return Layer(init, apply)


def residual_block(filters, convolve):
    """Makes two 3x3 convolutions beside a shortcut, normalized and activated before."""
    half = (group_normalization(), silu, convolve(filters, 3))
    blocks = serial(*half, *half)
    shortcut = convolve(filters, 1)

    def init(key, shape):
        keys = jax.random.split(key)
        beside = shortcut.init(keys[0], shape)[0] if shape[-1] != filters else []
        parameters, shape = blocks.init(keys[1], shape)
        return [beside, parameters], shape

    def apply(parameters, value):
        beside, inner = parameters
        return (shortcut.apply(beside, value) if beside else value) + blocks.apply(inner, value)

    return Layer(init, apply)


upsample = Layer(
    lambda _, shape: ([], (2 * shape[0], 2 * shape[1], shape[2])),
    lambda _, value: value.repeat(2, 1).repeat(2, 2),
)


def _dense_stack(units, activation=relu):
    return [layer for width in units for layer in (dense(width), activation)]


def _dense_encoder(workload, _):
    return [flatten, *_dense_stack(workload.units)]


def _dense_decoder(workload, _):
    side, channels = workload.image_shape
    shape = (side, side, channels)
    return [*_dense_stack(workload.units), dense(math.prod(shape)), reshape(shape)]


def _conv_encoder(workload, convolve):
    sizes = zip(workload.filters, workload.kernel_sizes, strict=True)
    layers = [layer for filters, size in sizes for layer in (convolve(filters, size, 2), relu)]
    return [*layers, flatten, *_dense_stack(workload.units)]


def _conv_decoder(workload, _):
    side, channels = workload.image_shape
    filters = workload.filters[::-1]
    smallest = side // 2 ** len(filters)
    shape = (smallest, smallest, filters[0])
    layers = [*_dense_stack((*workload.units, math.prod(shape))), reshape(shape)]
    for count in filters[1:]:
        layers += [transposed_convolution(count), relu]
    return [*layers, transposed_convolution(channels)]


def _resnet_encoder(workload, convolve):
    layers = []
    for filters in workload.filters:
        layers += [convolve(filters, 3, 2), residual_block(filters, convolve)]
    (units,) = workload.units
    return [*layers, silu, flatten, dense(units), silu]


def _resnet_decoder(workload, convolve):
    side, channels = workload.image_shape
    filters = workload.filters[::-1]
    smallest = side // 2 ** len(filters)
    shape = (smallest, smallest, filters[0])
    layers = [dense(math.prod(shape)), reshape(shape)]
    for count in filters:
        layers += [residual_block(count, convolve), upsample]
    return [*layers, group_normalization(), silu, convolve(channels, 3)]


_KINDS = {
    "dense": (_dense_encoder, _dense_decoder),
    "conv": (_conv_encoder, _conv_decoder),
    "resnet": (_resnet_encoder, _resnet_decoder),
}
