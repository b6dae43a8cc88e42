"""Shows what the model has learned, as pictures."""

import numpy as np
import tensorflow as tf

from vaeflow import images, random, registry, validation
from vaeflow.callbacks.base import Callback
from vaeflow.datasets import pipeline

_COLUMNS = 8


@registry.callback
class Images(Callback):
    """Writes grids of images to TensorBoard and as PNG files to `images/`.

    `reconstructions`: inputs of the evaluation split, each row of them above the row
    of their reconstructions. `samples`: means of p(x|z) for z from the prior.
    `traversals`: a row for each latent, moved from −3 to 3 around one example's
    posterior mean; the latents with the largest KL first.

    Args:
      every_steps: how often; also after the last step.
      num_examples: how many reconstructions and samples; a multiple of 8 looks best.
      max_traversals: how many latents are traversed at most.
    """

    def __init__(self, every_steps=1000, num_examples=32, max_traversals=16):
        super().__init__(every_steps)
        self.num_examples = validation.positive_integer("Images.num_examples", num_examples)
        self.max_traversals = validation.positive_integer("Images.max_traversals", max_traversals)

    def on_train_begin(self, run):
        split = run.evaluation_split
        # Spread over the split: neighbours may look alike.
        chosen = np.linspace(0, split.num_examples - 1, min(self.num_examples, split.num_examples))
        with pipeline.readable_errors():
            inputs = split.examples(tf.constant(chosen.astype(np.int64)))
        model = run.trainer.model
        self._inputs = tf.cast(inputs, model.variable_dtype) / (255.0 if split.dtype == "uint8" else 1.0)

    def on_log(self, run, metrics):
        model = run.trainer.model
        with run.trainer.averaged_weights():
            pictures = {
                "reconstructions": self._reconstructions(model),
                "samples": self._samples(model),
                "traversals": self._traversals(model),
            }
        with run.summaries():
            for name, pixels in pictures.items():
                tf.summary.image(name, pixels[None])
                images.write_png(run.workdir.images / f"{name}-{run.step:08d}.png", pixels)

    def _reconstructions(self, model):
        outputs = model(self._inputs)
        rows = []
        for first in range(0, len(self._inputs), _COLUMNS):
            for pictures in (self._inputs, outputs):
                row = np.asarray(pictures[first : first + _COLUMNS])
                rows.append(
                    np.pad(row, [(0, _COLUMNS - len(row)), (0, 0), (0, 0), (0, 0)], constant_values=1.0)
                )
        return images.grid(np.concatenate(rows), _COLUMNS)

    def _samples(self, model):
        with random.keyed(0, "images", 0):
            return images.grid(model.sample(self.num_examples), _COLUMNS)

    def _traversals(self, model):
        posterior = model.encode(self._inputs)
        kl = tf.reduce_mean(model.prior.kl_per_dimension(posterior, posterior.mean), axis=0)
        dimensions = tf.argsort(kl, direction="DESCENDING")[: self.max_traversals].numpy()
        latents = np.repeat(posterior.mean[:1].numpy(), _COLUMNS * len(dimensions), axis=0)
        for row, dimension in enumerate(dimensions):
            latents[row * _COLUMNS : (row + 1) * _COLUMNS, dimension] = np.linspace(-3, 3, _COLUMNS)
        return images.grid(model.decode(tf.constant(latents)).mean, _COLUMNS)
