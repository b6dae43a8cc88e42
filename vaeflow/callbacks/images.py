"""Shows what the model has learned, as pictures."""

import sys

import numpy as np
import tensorflow as tf

from vaeflow import random, registry, validation
from vaeflow.analysis import grids, traversals
from vaeflow.analysis.examples import spread_indices
from vaeflow.analysis.labels import columns_of_samples, labels_of_samples
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.distributions import is_discrete
from vaeflow.models.latent_model import LatentModel
from vaeflow.runs import files

_COLUMNS = 8
_MOST = 10_000
_SHOWN_WIDTH = 350  # Pixels: that of a picture in TensorBoard.
_DESCRIPTIONS = {
    "reconstructions": "Rows of held-out images, each above the row of their reconstructions: the mean of "
    "p(x|z) at the center of q(z|x).",
    "samples": "Means of p(x|z) for z from the prior, from the same noise each time; of a model that reads "
    "labels, a column for each label.",
    "traversals": "One latent in each row, with its number and its KL in nats, moved from −3 to 3 while the "
    "others stay at the center of q(z|x) of one image. Those that say most of the images come first.",
}


@registry.callback
class Images(Callback):
    """Writes grids of images to TensorBoard and as PNG files to `images/`, with a caption for each row.

    `reconstructions`: rows of evaluation images, each above the row of their
    reconstructions. `samples`: means of p(x|z) for z from the prior.
    `traversals`: a row for each latent, with its number and its KL in nats, moved from −3 to 3 around
    one example's posterior mean; the latents with the largest KL first, or with the largest variance
    where the KL has no closed form; of a model whose latents are one vector. Small images are
    enlarged. A model without latents has none of these pictures, nor have the rows of a table, and a
    line says so.

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

    def is_due_after(self, run: RunContext, step: int) -> bool:
        is_shown = grids.can_show(run.evaluation_split.shape) and _makes_images(run.trainer.model)
        return is_shown and super().is_due_after(run, step)

    def on_train_begin(self, run: RunContext) -> None:
        if not _makes_images(run.trainer.model):
            kind = type(run.trainer.model).__name__
            print(f"left out for this {kind}: `Images`, which shows what latents stand for", file=sys.stderr)
            return
        split = run.evaluation_split
        if not grids.can_show(split.shape):
            print(
                "left out for rows of a table: `Images`, whose pictures would be single pixels",
                file=sys.stderr,
            )
            return
        # Spread over the split, since neighbours may look alike.
        chosen = spread_indices(split.num_examples, self.num_examples)
        model = run.trainer.model
        self._inputs = traversals.read_batch(split, chosen, model.variable_dtype, reads=model.reads)
        self._labels = labels_of_samples(model, split, self.num_examples)

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        model = run.trainer.model
        with run.trainer.averaged_weights():
            pictures = {
                "reconstructions": self._reconstructions(model),
                "samples": self._samples(model),
                **self._traversals(model),
            }
        files.make_folder(run.workdir.images)
        with run.summaries():
            for name, pixels in pictures.items():
                tf.summary.image(name, pixels[None], description=_DESCRIPTIONS[name])
                grids.write_png(run.workdir.images / f"{name}-{run.step:08d}.png", pixels)

    def _reconstructions(self, model):
        outputs = traversals.reconstruct(model, self._inputs)
        images = self._inputs["images"].numpy()
        drawn = grids.in_pairs_of_rows(images, outputs, _COLUMNS)
        drawn = drawn.reshape(-1, _COLUMNS, *drawn.shape[1:])
        return grids.rows(drawn, ["image", "output"] * (len(drawn) // 2), _SHOWN_WIDTH)

    def _samples(self, model):
        with random.keyed(0, "images", 0):
            samples = model.sample(self.num_examples, self._labels)
        columns = columns_of_samples(self._labels, _COLUMNS)
        return grids.grid(grids.enlarge(np.asarray(samples), columns), columns)

    def _traversals(self, model):
        """Draws the traversals of a model whose latents are one vector: name -> pixels, or nothing."""
        draw, *others = model.centred(self._inputs).draws.values()
        if others or is_discrete(draw.posterior) or draw.value.shape.rank != 2:
            return {}
        kl, centers = draw.closed_kl, draw.value.numpy()
        dimensions = traversals.most_used(None if kl is None else kl.numpy(), centers, self.max_traversals)
        latents = traversals.traverse(centers[0], dimensions, np.linspace(-3, 3, _COLUMNS))
        labels = self._inputs["labels"].numpy()[0] if "labels" in self._inputs else None
        drawn = traversals.decode_vectors(model, latents, labels)
        use = None if kl is None else np.mean(kl, axis=0)[dimensions]
        return {"traversals": grids.rows(drawn, traversals.row_labels(dimensions, use), _SHOWN_WIDTH)}


def _makes_images(model):
    """Whether a model has latents that stand for images."""
    return isinstance(model, LatentModel) and model.takes == "images"
