"""Convolutions as XLA computes them and their gradients fastest on a CPU: NHWC and HWIO, padding SAME.

A product with the patches took a sixth of the processor time of `lax.conv_transpose` (16x16x32 to 32x32x32,
batch 64). XLA's own convolution is faster than the product where it stands alone, but took 20 times as
long in the body of a loop (`lax.scan`), where a product takes no longer. On a GPU all is left to XLA.
"""

import jax
from jax import lax
from jax import numpy as jnp

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolution(images, kernel, stride, in_loop):
    """Convolves images `[B, H, W, I]`, with H and W divisible by the stride.

    Args:
      images: see above.
      kernel: `[k, k, I, O]`.
      stride: 1 or 2.
      in_loop: whether this is part of the body of a compiled loop.
    """
    size = kernel.shape[0]
    if size == stride == 1:
        return images @ kernel[0, 0]
    if not _is_on_cpu() or (not in_loop and size > stride):
        return lax.conv_general_dilated(images, kernel, (stride, stride), "SAME", dimension_numbers=_LAYOUT)
    if size % stride == 0 and stride == 2:
        images = _space_to_depth(_padded(images, size - stride))
        kernel = _in_squares(kernel).reshape(size // 2, size // 2, -1, kernel.shape[-1])
        return _product_of_patches(images, kernel)
    return _product_of_patches(_padded(images, size - stride), kernel, stride)


def transposed_convolution(images, kernel):
    """Equals `lax.conv_transpose`: images `[B, H, W, I]` and a kernel `[4, 4, I, O]` to `[B, 2H, 2W, O]`.

    Each 2x2 square of outputs is computed as 4 O channels, then spread over the image.
    """
    if not _is_on_cpu():
        return lax.conv_transpose(images, kernel, (2, 2), "SAME", dimension_numbers=_LAYOUT)
    channels, filters = kernel.shape[2:]
    squares = _in_squares(kernel[::-1, ::-1]).transpose(0, 1, 3, 2, 4).reshape(2, 2, channels, 4 * filters)
    if 4 * filters < channels:
        # Few outputs: one product, whose four parts are added where they overlap.
        taps = jnp.split(images @ squares.transpose(2, 0, 1, 3).reshape(channels, -1), 4, axis=-1)
        shifts = [(row, column) for row in (0, 1) for column in (0, 1)]
        spread = sum(_shifted(tap, *shift) for tap, shift in zip(taps, shifts, strict=True))
    else:
        spread = _product_of_patches(jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))), squares[::-1, ::-1])
    batch, height, width, _ = spread.shape
    spread = spread.reshape(batch, height, width, 2, 2, filters).transpose(0, 1, 3, 2, 4, 5)
    return spread.reshape(batch, 2 * height, 2 * width, filters)[:, 1:-1, 1:-1]


def _is_on_cpu():
    return jax.default_backend() == "cpu"


def _product_of_patches(images, kernel, stride=1):
    """Convolves without padding: one product with the patches, side by side."""
    size = kernel.shape[0]
    height, width = (images.shape[1] - size) // stride + 1, (images.shape[2] - size) // stride + 1
    patches = [
        images[:, row : row + stride * height : stride, column : column + stride * width : stride]
        for row in range(size)
        for column in range(size)
    ]
    return jnp.concatenate(patches, -1) @ kernel.reshape(-1, kernel.shape[-1])


def _padded(images, num_pixels):
    """Pads `num_pixels` rows and columns, half of them before, as SAME does."""
    before = num_pixels // 2
    pixels = (before, num_pixels - before)
    return jnp.pad(images, ((0, 0), pixels, pixels, (0, 0)))


def _shifted(images, row, column):
    return jnp.pad(images, ((0, 0), (row, 1 - row), (column, 1 - column), (0, 0)))


def _space_to_depth(images):
    """Makes `[B, H/2, W/2, 4 C]` of `[B, H, W, C]`."""
    batch, height, width, channels = images.shape
    squares = images.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(batch, height // 2, width // 2, 4 * channels)


def _in_squares(kernel) -> jax.Array:
    """Makes `[k/2, k/2, 4, I, O]` of a kernel `[k, k, I, O]`: the 2x2 squares of its pixels."""
    size, _, channels, filters = kernel.shape
    squares = kernel.reshape(size // 2, 2, size // 2, 2, channels, filters).transpose(0, 2, 1, 3, 4, 5)
    return squares.reshape(size // 2, size // 2, 4, channels, filters)
