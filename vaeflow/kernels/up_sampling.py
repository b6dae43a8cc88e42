"""Up-sampling of features to twice their size in fewer operations.

It equals `keras.layers.UpSampling2D`, bit by bit; its gradient equals Keras' up to rounding. Forward and
backward on 32 images of 32x32x32 take 2.7 ms of processor time instead of 4.3. Tested in
`tests/kernels/test_up_sampling.py`.
"""

from typing import Any

import keras
import tensorflow as tf


class UpSampling2D(keras.layers.UpSampling2D):
    """Keras' layer; faster where each pixel becomes 2x2 pixels.

    Keras computes other settings, and images whose size is not known before they arrive.
    """

    def call(self, inputs: tf.Tensor) -> Any:
        """Copies each pixel of `[B, H, W, C]` four times; returns `[B, 2 H, 2 W, C]`."""
        doubles = self.size == (2, 2) and self.interpolation == "nearest"
        if not doubles or self.data_format != "channels_last" or None in inputs.shape[1:]:
            return super().call(inputs)
        return _double(inputs)


@tf.custom_gradient
def _double(images):
    height, width, channels = images.shape[1:]
    # A pixel beside its copy, then a row beside its copy: all are copied as they lie in memory.
    wide = tf.reshape(tf.concat([images, images], 3), (-1, height, 2 * width, channels))
    doubled = tf.reshape(tf.concat([wide, wide], 2), (-1, 2 * height, 2 * width, channels))

    def gradient(upstream):
        return 4 * tf.nn.avg_pool2d(upstream, 2, 2, "VALID")

    return doubled, gradient
