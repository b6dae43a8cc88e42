"""Evaluates a model on a split, each example counted once on any number of replicas."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vaeflow.analysis.examples import Examples
from vaeflow.devices import replicas
from vaeflow.errors import user_code
from vaeflow.metrics import Metric

# A latent is active when the center of its posterior varies by more than this over the data:
# Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), section 5.2.
_ACTIVE_VARIANCE = 0.01


class Evaluator:
    """Computes the negative ELBO and what the latents do, over a whole split.

    The noise is keyed by the seed and the example's position in the split, so the same
    weights give the same numbers each time, for every batch size and number of replicas.

    Args:
      examples: the model and the `Examples` to evaluate it on.
      metrics: a list of `Metric`s, whose means are added to the results.
    """

    def __init__(self, examples: Examples, metrics: Sequence[Metric] = ()):
        self.examples = examples
        self.model = examples.model
        self.metrics = tuple(metrics)
        self._metric_names = set()
        self._batches = examples.batches()
        self._sum = examples.on_replicas(self._sum_on_replica)

    def evaluate(self) -> dict[str, float]:
        """Evaluates the model as it is now.

        Returns:
          A dict of floats, in nats, means over the examples: `negative_elbo` (at a
          KL weight of 1, whatever the objective), `reconstruction_loss`, `kl`,
          `kl_per_dimension/00` …; `active_units`, a count; and what the metrics name. The
          negative ELBO and the KL are left out where they are not defined, and the KL of
          each dimension where there is only one of them all.
        """
        num_examples = len(self.examples.indices)
        means = {name: total / num_examples for name, total in self._totals().items()}
        variance = means["center_squared"] - np.square(means["center"])
        loss, units = means["reconstruction_loss"], means.get("kl_per_unit")
        results = {} if units is None else {"negative_elbo": loss + np.sum(units)}
        results["reconstruction_loss"] = loss
        results |= {} if units is None else {"kl": np.sum(units)}
        results["active_units"] = int(np.sum(variance > _ACTIVE_VARIANCE))
        if units is not None and len(units) == len(variance):
            results |= {f"kl_per_dimension/{dimension:02d}": kl for dimension, kl in enumerate(units)}
        results |= {name: mean for name, mean in means.items() if name in self._metric_names}
        return {name: float(value) for name, value in results.items()}

    def _totals(self):
        """Sums every quantity over the split: name -> float64 array."""
        totals = {}
        for batch in self._batches:
            sums = replicas.first_replica(self.examples.strategy, self._sum(*batch))
            totals = {name: totals.get(name, 0.0) + value.numpy() for name, value in sums.items()}
        return totals

    def _sum_on_replica(self, images, weights, first_position):
        """Sums every quantity over the examples of one global batch, on all replicas."""
        with (
            self.examples.floats(images, "evaluation", first_position) as floats,
            user_code.running(self.model, "forward"),
        ):
            forward = self.model.forward(floats)
        center = forward.posterior.center
        per_example = {
            "reconstruction_loss": -forward.reconstruction.log_prob(forward.images),
            "center": center,
            "center_squared": tf.square(center),
        }
        if forward.has_kl:
            per_example["kl_per_unit"] = forward.kl
        for metric in self.metrics:
            named = _measured(metric, self.model, forward, images.shape[0])
            self._metric_names |= named.keys()
            per_example |= named
        weights = tf.cast(weights, tf.float64)
        sums = {
            name: tf.tensordot(weights, tf.cast(value, tf.float64), 1) for name, value in per_example.items()
        }
        return replicas.sum_over_replicas(sums)


def _measured(metric, model, forward, num_examples):
    """Returns what a metric gives for each example, a dict of tensors `[b]`."""
    with user_code.running(metric, "per_example"):
        named = metric.per_example(model, forward)
    if not isinstance(named, dict):
        problem = f"must return a dict, name -> tensor, it returned {named!r}"
        raise user_code.wrong(metric, "per_example", problem)
    for name, value in named.items():
        if not isinstance(value, tf.Tensor) or value.shape.rank != 1 or value.shape[0] != num_examples:
            problem = (
                f"gives {name!r} as {user_code.described(value)}; it must be a tensor with one value for each"
            )
            raise user_code.wrong(metric, "per_example", f"{problem} of the {num_examples} examples")
    return named
