"""The nets of the workloads as plain Keras models, as one writes them by hand."""

import math

import keras
from keras import layers


def make(workload):
    """Returns the encoder, the decoder, and the discriminator or None, of a `Workload`.

    The encoder maps images `[B, H, W, C]` to mean and log variance, `[B, D]` each; the decoder maps
    latents `[B, D]` to logits `[B, H, W, C]`; the discriminator maps them to one logit, `[B, 1]`.
    """
    side, channels = workload.image_shape
    encoder_trunk, decoder_trunk = _KINDS[workload.kind]
    images = keras.Input((side, side, channels))
    features = encoder_trunk(workload, images)
    heads = [layers.Dense(workload.num_latents, name=name)(features) for name in ("mean", "log_variance")]
    latents = keras.Input((workload.num_latents,))
    decoder = keras.Model(latents, decoder_trunk(workload, latents, side, channels), name="decoder")
    return keras.Model(images, heads, name="encoder"), decoder, _discriminator(workload)


def _discriminator(workload):
    if not workload.discriminator_units:
        return None
    hidden = [layers.Dense(units, layers.LeakyReLU(0.2)) for units in workload.discriminator_units]
    return keras.Sequential(
        [keras.Input((workload.num_latents,)), *hidden, layers.Dense(1)], name="discriminator"
    )


def _dense_stack(value, units):
    for width in units:
        value = layers.Dense(width, "relu")(value)
    return value


def _dense_encoder(workload, images):
    return _dense_stack(layers.Flatten()(images), workload.units)


def _dense_decoder(workload, latents, side, channels):
    hidden = _dense_stack(latents, workload.units)
    shape = (side, side, channels)
    return layers.Reshape(shape)(layers.Dense(math.prod(shape))(hidden))


def _conv_encoder(workload, images):
    value = images
    for filters, kernel_size in zip(workload.filters, workload.kernel_sizes, strict=True):
        value = layers.Conv2D(filters, kernel_size, 2, "same", activation="relu")(value)
    return _dense_stack(layers.Flatten()(value), workload.units)


def _conv_decoder(workload, latents, side, channels):
    filters = workload.filters[::-1]
    smallest = side // 2 ** len(filters)
    shape = (smallest, smallest, filters[0])
    value = layers.Reshape(shape)(_dense_stack(latents, (*workload.units, math.prod(shape))))
    for count in filters[1:]:
        value = layers.Conv2DTranspose(count, 4, 2, "same", activation="relu")(value)
    return layers.Conv2DTranspose(channels, 4, 2, "same")(value)


def _residual_block(value, filters):
    shortcut = value if value.shape[-1] == filters else layers.Conv2D(filters, 1)(value)
    for _ in range(2):
        value = layers.Activation("silu")(_group_normalization(value))
        value = layers.Conv2D(filters, 3, padding="same")(value)
    return layers.Add()([shortcut, value])


def _resnet_encoder(workload, images):
    value = images
    for filters in workload.filters:
        value = _residual_block(layers.Conv2D(filters, 3, 2, "same")(value), filters)
    (units,) = workload.units
    return layers.Dense(units, "silu")(layers.Flatten()(layers.Activation("silu")(value)))


def _resnet_decoder(workload, latents, side, channels):
    filters = workload.filters[::-1]
    smallest = side // 2 ** len(filters)
    shape = (smallest, smallest, filters[0])
    value = layers.Reshape(shape)(layers.Dense(math.prod(shape))(latents))
    for count in filters:
        value = layers.UpSampling2D(2)(_residual_block(value, count))
    value = layers.Activation("silu")(_group_normalization(value))
    return layers.Conv2D(channels, 3, padding="same")(value)


_KINDS = {
    "dense": (_dense_encoder, _dense_decoder),
    "conv": (_conv_encoder, _conv_decoder),
    "resnet": (_resnet_encoder, _resnet_decoder),
}


def _group_normalization(value):
    return layers.GroupNormalization(math.gcd(8, value.shape[-1]))(value)
