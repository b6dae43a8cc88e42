"""The patches that a convolution of one channel reads, laid out for a matrix product, and their sum.

A convolution of one channel is the product of its patches with the kernel. A transposed one to one channel
multiplies each pixel with the kernel, and adds up the patches that this gives. On CPU such a product takes
less time than oneDNN's convolution. Both functions are linear, and each is the gradient of the other. XLA
compiles them, in every compile mode. Tested in `tests/kernels/test_patches.py`.
"""

import functools
import itertools
from typing import Any

import keras
import tensorflow as tf


def patches_of(images: Any, size: int, stride: int) -> Any:
    """Lays out what each output of a "same" convolution reads.

    Args:
      images: `[B, sH, sW, 1]`.
      size: k, the size of the kernel, a multiple of the stride.
      stride: s.

    Returns:
      `[B·H·W, k·k]`, the rows of each patch one after the other.
    """
    _, height, width, _ = images.shape

    @tf.custom_gradient
    def laid_out(images):
        def gradient(upstream):
            return sum_of_patches(upstream, height // stride, width // stride, size, stride)

        return _call(_laid_out, images, size, stride), gradient

    return laid_out(images)


def sum_of_patches(patches: Any, height: int, width: int, size: int, stride: int) -> Any:
    """Adds patches where they overlap.

    Args:
      patches: `[B·H·W, k·k]`, as `patches_of` returns them.
      height: H.
      width: W.
      size: k.
      stride: s.

    Returns:
      Images `[B, sH, sW, 1]`.
    """

    @tf.custom_gradient
    def added(patches):
        def gradient(upstream):
            return patches_of(upstream, size, stride)

        return _call(_added, patches, height, width, size, stride), gradient

    return added(patches)


def reads_patches(layer: keras.layers.Conv2D | keras.layers.Conv2DTranspose) -> bool:
    """Whether these patches are those of a layer of Keras."""
    stride, size = layer.strides[0], layer.kernel_size[0]
    is_square = layer.strides == (stride, stride) and layer.kernel_size == (size, size)
    has_default_layout = (
        layer.padding == "same" and layer.data_format == "channels_last" and layer.dilation_rate == (1, 1)
    )
    return is_square and has_default_layout and size % stride == 0


def _call(compiled: Any, *arguments: Any) -> Any:
    # A call of the function itself would warn that it is traced often.
    return compiled.get_concrete_function(*arguments)(arguments[0])


# Row a = s·q + r of a patch lies in row s·(i + q) + r of the padded image, with i the patch's own row.


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _laid_out(images, size, stride):
    steps = size // stride
    rows, columns = (length // stride for length in images.shape[1:3])
    first = (size - stride) // 2
    around = (first, size - stride - first)
    padded = tf.pad(images[..., 0], ((0, 0), around, around))
    padded = tf.reshape(padded, (-1, rows + steps - 1, stride, columns + steps - 1, stride))
    shifted = tf.stack([padded[:, q : q + rows] for q in range(steps)], axis=2)
    shifted = tf.stack([shifted[..., q : q + columns, :] for q in range(steps)], axis=4)
    # [B, H, q, s, q, W, s]: of the rows, then of the columns.
    return tf.reshape(tf.transpose(shifted, (0, 1, 5, 2, 3, 4, 6)), (-1, size * size))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _added(patches, height, width, size, stride):
    # Each image that is added holds one q of the rows and one of the columns: XLA computes each output once.
    steps = size // stride
    patches = tf.reshape(patches, (-1, height, width, steps, stride, steps, stride))
    patches = tf.transpose(patches, (3, 5, 0, 1, 4, 2, 6))
    shifted = []
    for row, column in itertools.product(range(steps), repeat=2):
        image = tf.reshape(patches[row, column], (-1, stride * height, stride * width))
        around = [(stride * q, stride * (steps - 1 - q)) for q in (row, column)]
        shifted.append(tf.pad(image, ((0, 0), *around)))
    first = (size - stride) // 2
    sums = tf.add_n(shifted)[:, first : first + stride * height, first : first + stride * width]
    return tf.expand_dims(sums, -1)
