"""Shows what the model has learned, as pictures."""

import numpy as np
import tensorflow as tf

from vaeflow import random, registry, validation
from vaeflow.analysis import grids, traversals
from vaeflow.analysis.examples import spread_indices
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.distributions import closed_kl
from vaeflow.runs import files

_COLUMNS = 8
_MOST = 10_000


@registry.callback
class Images(Callback):
    """Writes grids of images to TensorBoard and as PNG files to `images/`.

    `reconstructions`: rows of evaluation images, each above the row of their
    reconstructions. `samples`: means of p(x|z) for z from the prior.
    `traversals`: a row for each latent, moved from −3 to 3 around one example's
    posterior mean; the latents with the largest KL first, or with the largest variance
    where the KL has no closed form.

    Args:
      every_steps: how often; also after the last step.
      num_examples: the number of reconstructions and of samples; a multiple of 8 looks best.
      max_traversals: the largest number of latents to traverse.
    """

    takes_long = True

    def __init__(self, every_steps: int = 1000, num_examples: int = 32, max_traversals: int = 16) -> None:
        super().__init__(every_steps)
        self.num_examples = validation.positive_integer("Images.num_examples", num_examples, _MOST)
        self.max_traversals = validation.positive_integer("Images.max_traversals", max_traversals, _MOST)

    def on_train_begin(self, run: RunContext) -> None:
        split = run.evaluation_split
        # Spread over the split, since neighbours may look alike.
        chosen = spread_indices(split.num_examples, self.num_examples)
        dtype = run.trainer.model.variable_dtype
        self._inputs = traversals.read_images(split, chosen, dtype)

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        model = run.trainer.model
        with run.trainer.averaged_weights():
            pictures = {
                "reconstructions": self._reconstructions(model),
                "samples": self._samples(model),
                "traversals": self._traversals(model),
            }
        files.make_folder(run.workdir.images)
        with run.summaries():
            for name, pixels in pictures.items():
                tf.summary.image(name, pixels[None])
                grids.write_png(run.workdir.images / f"{name}-{run.step:08d}.png", pixels)

    def _reconstructions(self, model):
        outputs = traversals.reconstruct(model, self._inputs)
        return grids.grid(grids.in_pairs_of_rows(self._inputs.numpy(), outputs, _COLUMNS), _COLUMNS)

    def _samples(self, model):
        with random.keyed(0, "images", 0):
            return grids.grid(model.sample(self.num_examples), _COLUMNS)

    def _traversals(self, model):
        posterior = model.encode(self._inputs)
        kl = closed_kl(posterior, model.prior_distribution())
        centers = posterior.center.numpy()
        dimensions = traversals.most_used(None if kl is None else kl.numpy(), centers, self.max_traversals)
        values = np.linspace(-3, 3, _COLUMNS)
        latents = traversals.traverse(centers[0], dimensions, values)
        drawn = traversals.decode(model, latents)
        return grids.grid(drawn.reshape(-1, *drawn.shape[2:]), _COLUMNS)
