"""Evaluates a model on a split, each example counted once on any number of replicas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.analysis.examples import Examples
from vaeflow.analysis.feature_comparison import FeatureComparison
from vaeflow.devices import replicas
from vaeflow.distributions import is_discrete
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers.quantizers import usage
from vaeflow.metrics import FeatureMetric, Metric
from vaeflow.models.latent_model import LatentModel

# A latent is active when the center of its posterior varies by more than this over the data:
# Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), section 5.2.
_ACTIVE_VARIANCE = 0.01


class Evaluator:
    """Computes the negative ELBO and what the latents do, over a whole split; of any model what it names.

    The noise is keyed by the seed and the example's position in the split, so the same
    weights give the same numbers each time, for every batch size and number of replicas.

    Args:
      examples: the model and the `Examples` to evaluate it on.
      metrics: a list of `Metric`s, which are added to the results: their means over the
        examples, and what a `FeatureMetric` gives of whole sets.
      features: the `FeatureComparison` of the latter, for a model whose examples are no images; None
        for that of these examples.

    Attributes:
      features: the `FeatureComparison` of these.

    Raises:
      ConfigurationError: a metric needs latents, and the model has none; or see `FeatureComparison`.
    """

    def __init__(
        self, examples: Examples, metrics: Sequence[Metric] = (), features: FeatureComparison | None = None
    ):
        self.examples = examples
        self.model = examples.model
        self.metrics = tuple(metrics)
        compared = [metric for metric in metrics if isinstance(metric, FeatureMetric)]
        own = metrics if features is None else [metric for metric in metrics if metric not in compared]
        _check_metrics(self.model, own)
        self.features = FeatureComparison(examples, compared) if features is None else features
        self._batches = examples.batches()
        self._sum = examples.on_replicas(self._sum_on_replica)

    def evaluate(self) -> dict[str, float]:
        """Evaluates the model as it is now.

        Returns:
          A dict of floats, means over the examples: what the model (see `Model.evaluated`) and
          the metrics name. Of a model with latents also, in nats: `negative_elbo` (at a KL weight of 1,
          whatever the objective), `reconstruction_loss`, `kl`, `kl_per_dimension/00` …; and
          `active_units`, a count. Of codes `codes/perplexity`, `codes/usage` and `codes/dead` over the
          split (see `quantizers.usage.usage_of`), and `codes/perplexity/00` … where a place has
          several. With several groups of latents each has its own
          `kl/<group>`, `active_units/<group>`, `kl_per_dimension/<group>/00` … and
          `codes/<group>/perplexity` …. The negative
          ELBO and the KL are left out where they are not defined, active units where the latents
          are codes, and the KL of each dimension where it has no closed form or the latents are no vector.
        """
        num_examples = len(self.examples.indices)
        totals, code_counts = self._totals()
        means = tf.nest.map_structure(lambda total: total / num_examples, totals)
        results = (_of_latents(means) if "groups" in means else {}) | means["named"]
        for name, counts in code_counts.items():
            sole = len(means["groups"]) == 1
            results |= usage.usage_by_group(counts, "codes" if sole else f"codes/{name}")
        results = {name: float(value) for name, value in results.items()}
        return results | self.features.measure()

    def _totals(self):
        """Sums every quantity over the split, and counts its codes: two nests of float64 arrays."""
        totals: Any = None
        for batch in self._batches:
            sums = replicas.first_replica(self.examples.strategy, self._sum(*batch))
            totals = sums if totals is None else tf.nest.map_structure(tf.add, totals, sums)
        # Now, since the host would wait for the device at each batch.
        return tf.nest.map_structure(lambda value: value.numpy(), totals)

    def _sum_on_replica(self, stored, weights, first_position):
        """Sums every quantity over the examples of one global batch, on all replicas."""
        with (
            self.examples.batch(stored, "evaluation", first_position) as batch,
            user_code.running(self.model, "forward"),
        ):
            forward = self.model.forward(batch)
            per_example: dict[str, Any] = {"named": self.model.evaluated(forward)}
            if isinstance(self.model, LatentModel):
                per_example |= _per_example_of_latents(forward, self.model.at_center(forward))
        for metric in self.metrics:
            per_example["named"] |= _measured(metric, self.model, forward, forward.num_examples)
        weights = tf.cast(weights, tf.float64)
        sums = tf.nest.map_structure(
            lambda value: tf.tensordot(weights, tf.cast(value, tf.float64), 1), per_example
        )
        return replicas.sum_over_replicas((sums, _code_counts(forward, weights)))


def _code_counts(forward, weights):
    """Counts the codes of a model whose latents are codes: group -> `[K]` of each code at a place."""
    posteriors = {name: draw.posterior for name, draw in getattr(forward, "draws", {}).items()}
    return {
        name: usage.code_counts(posterior.codes, posterior.code_sizes, tf.float64, weights)
        for name, posterior in posteriors.items()
        if is_discrete(posterior)
    }


def _per_example_of_latents(forward, centred):
    """Returns what is averaged of a model with latents, a nest of `[b, …]`."""
    groups = {name: _of_group(draw, centred.draws[name]) for name, draw in forward.draws.items()}
    return {"reconstruction_loss": forward.reconstruction_loss, "groups": groups}


def _of_latents(means):
    """Names what is reported of a model with latents, of the means over the examples."""
    loss, groups = means["reconstruction_loss"], means["groups"]
    kl = {name: np.sum(group["kl"]) for name, group in groups.items() if "kl" in group}
    has_kl = len(kl) == len(groups)
    results = {"negative_elbo": loss + sum(kl.values())} if has_kl else {}
    results["reconstruction_loss"] = loss
    results |= {"kl": sum(kl.values())} if has_kl else {}
    active = {name: _active_units(group) for name, group in groups.items() if "center" in group}
    if len(groups) == 1:
        results |= dict(zip(["active_units"], active.values(), strict=False))
    else:
        results |= {f"kl/{name}": each for name, each in kl.items()}
        results |= {f"active_units/{name}": count for name, count in active.items()}
    for name, group in groups.items():
        results |= _kl_per_dimension(group, "" if len(groups) == 1 else f"{name}/")
    return results


def _of_group(draw, centred):
    """Returns what is averaged of a group of latents: name -> `[b, …]`."""
    averaged = {"kl": draw.kl} if draw.has_kl else {}
    if not is_discrete(draw.posterior):
        averaged |= {"center": centred.value, "center_squared": tf.square(centred.value)}
    return averaged


def _active_units(means):
    variance = means["center_squared"] - np.square(means["center"])
    return int(np.sum(variance > _ACTIVE_VARIANCE))


def _kl_per_dimension(means, label):
    """Names the KL of each latent of a vector, where each is a unit."""
    if "kl" not in means or "center" not in means or np.shape(means["kl"]) != np.shape(means["center"]):
        return {}
    return {f"kl_per_dimension/{label}{unit:02d}": kl for unit, kl in enumerate(means["kl"])}


def _check_metrics(model, metrics):
    names = [type(metric).__name__ for metric in metrics if metric.needs_latents]
    if names and not isinstance(model, LatentModel):
        raise ConfigurationError(
            f"the metric {names[0]} compares images with reconstructions, and a {type(model).__name__} makes "
            "none; leave it out of `evaluate.metrics`"
        )


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
