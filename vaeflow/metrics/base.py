"""The base class of metrics."""

import keras
import tensorflow as tf

from vaeflow.models.forward import Forward


class Metric:
    """Measures each example. The evaluation reports the mean over a split.

    Each example counts once, on any number of replicas.

    Example:
        @registry.metric
        class Brightness(Metric):
            def per_example(self, model, forward):
                return {"brightness": tf.reduce_mean(forward.images, axis=[1, 2, 3])}

    Attributes:
      needs_latents: whether it reads latents or reconstructions, which not every model has.
    """

    needs_latents = False

    def per_example(self, model: keras.Model, forward: Forward) -> dict[str, tf.Tensor]:
        """Measures a replica's examples, in graph mode.

        Draw noise only from `vaeflow.random`, which the evaluation keys.

        Args:
          model: the built model.
          forward: the model's `Forward` for these examples; of a model without latents what its own
            `forward` returned.

        Returns:
          A dict from names, which no other metric may use, to float tensors `[b]`.
        """
        raise NotImplementedError
