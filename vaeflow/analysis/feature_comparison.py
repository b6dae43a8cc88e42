"""Compares the images of a split with what a model makes of them, by the features of nets."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.analysis.examples import Examples, spread_indices
from vaeflow.devices import cores, replicas
from vaeflow.errors import ConfigurationError, TrainingDiverged, user_code
from vaeflow.layers.base import build_once
from vaeflow.layers.feature_net import FeatureNet
from vaeflow.metrics.fidelity import SETS, FeatureMetric
from vaeflow.metrics.fidelity.features import FeatureSet
from vaeflow.runs import watchdog


class FeatureComparison:
    """Computes the features of images, reconstructions and samples, and the metrics of these sets.

    Each image counts once, and features are gathered in the order of the images. A net sees every set once,
    however many metrics read it.

    Args:
      examples: the model and its `Examples`.
      metrics: a list of `FeatureMetric`s; nothing is done for none.
      sampler: what makes the samples, with `sample(num_samples, labels)` and `reads` as a model has
        them; None for the model.

    Attributes:
      nets: what decides the features of each net, as `FeatureNet.settings` has it.
      left_out: the metrics that are not defined for the model, for people.

    Raises:
      ConfigurationError: a set that a metric names is not defined or has too few images, or a net
        does not fit the images.
    """

    def __init__(self, examples: Examples, metrics: Sequence[FeatureMetric] = (), sampler: Any = None):
        self._examples = examples
        self._sampler = examples.model if sampler is None else sampler
        self.left_out: list[str] = []
        if metrics and examples.split.content != "images":
            raise ConfigurationError(
                f"{type(metrics[0]).__name__} compares images, and these data are {examples.split.content}; "
                "leave it out of `evaluate.metrics`"
            )
        undefined = _undefined_sets(examples, self._sampler) if metrics else {}
        self._groups: list[_Group] = []
        for metric in metrics:
            if of := self._defined(metric, undefined):
                self._group_of(metric.net).add(metric, of)
        self.nets = [group.net.settings for group in self._groups]

    def measure(self) -> dict[str, float]:
        """Measures the model as it is now.

        Returns:
          A dict, name -> float, such as `rfid[none,net=0123456789ab]`: the binarization of the images,
          the net and the settings of the metric are in brackets.

        Raises:
          ConfigurationError: the features of images are not finite, or two metrics have the same name.
          TrainingDiverged: the features of what the model makes are not finite.
        """
        results: dict[str, float] = {}
        for group in self._groups:
            for name, value in group.measured():
                if name in results:
                    raise ConfigurationError(
                        f"two metrics give {name!r}; leave one out, or evaluate them one after the other"
                    )
                results[name] = value
        return results

    def _group_of(self, net):
        """Returns the metrics that share a net, which is built for the first of them."""
        for group in self._groups:
            if group.net.key == net.key:
                return group
        self._groups.append(_Group(self._examples, net, self._sampler))
        return self._groups[-1]

    def _defined(self, metric, undefined):
        """Returns the sets that a metric compares images with."""
        name = type(metric).__name__
        for of in metric.of or ():
            if of in undefined:
                model = type(self._examples.model).__name__
                raise ConfigurationError(
                    f"`{name}.of` names {of!r}, which this {model} does not have: {undefined[of]}; leave "
                    "it out"
                )
        if metric.of is None:
            self.left_out += [f"{name} of {of}: {reason}" for of, reason in undefined.items()]
        return [of for of in metric.of or SETS if of not in undefined]


class _Group:
    """The metrics that read the features of one net, and the sets that they compare."""

    def __init__(self, examples: Examples, net: FeatureNet, sampler: Any):
        self.examples = examples
        self.net = net
        self.sampler = sampler
        self.pairs: list[tuple[FeatureMetric, str]] = []
        with examples.strategy.scope():
            build_once(net, (None, *examples.split.shape))

    def add(self, metric: FeatureMetric, sets: Sequence[str]) -> None:
        """Adds a metric and the sets that it compares images with."""
        metric.check_num_images(len(self.examples.indices), "images")
        for of in sets:
            metric.check_num_images(self._size(metric, of), of)
            self.pairs.append((metric, of))

    def measured(self) -> Iterator[tuple[str, float]]:
        """Yields the names and values of all metrics."""
        collected = self._collected()
        for metric, of in self.pairs:
            real, other = (collected[name, self._size(metric, name)] for name in ("images", of))
            watchdog.progress(type(metric).__name__)
            with user_code.running(metric, "compare"):
                named = metric.compare(real[metric.keeps], other[metric.keeps], self.examples.seed)
            binarization = self.examples.split.binarization
            label = ",".join([binarization, self.net.label, *metric.conditions(of)])
            for name, value in _checked(metric, named).items():
                yield f"{SETS[of]}{name}[{label}]", value

    def _collected(self) -> dict[tuple[str, int], "_Collected"]:
        """Passes every set through the net once: its name and size -> what is kept of its features."""
        kept: dict[tuple[str, int], set[type[FeatureSet]]] = {}
        for metric, of in self.pairs:
            for name in ("images", of):
                kept.setdefault((name, self._size(metric, name)), set()).add(metric.keeps)
        collected = {key: _Collected(self.net, key[0], kinds) for key, kinds in kept.items()}
        of_images = {name: each for (name, _), each in collected.items() if name != "samples"}
        for batch in self._of_images("reconstructions" in of_images):
            for name, features in batch.items():
                of_images[name].add(features)
        for (name, size), each in collected.items():
            if name == "samples":
                for features in self._of_samples(size):
                    each.add(features)
        return collected

    def _of_images(self, with_reconstructions: bool) -> Iterator[dict[str, np.ndarray]]:
        """Yields the features of images, and of reconstructions: name -> `[b, D]`."""
        examples, model = self.examples, self.examples.model

        def features(stored, first_position):
            # The stream of the `Evaluator`: both see one dynamic binarization.
            with examples.batch(stored, "evaluation", first_position) as batch:
                sets: dict[str, Any] = {"images": batch["images"]}
                if with_reconstructions:
                    with user_code.running(model, "forward"):
                        sets["reconstructions"] = model.centred(batch).reconstruction.mean
                return {name: self._features(images) for name, images in sets.items()}

        compiled = examples.on_replicas(features)
        for stored, _, first_position in examples.batches():
            remaining = len(examples.indices) - int(first_position)
            gathered = compiled(stored, first_position)
            yield {name: self._local(each)[:remaining] for name, each in gathered.items()}

    def _of_samples(self, num_samples: int) -> Iterator[np.ndarray]:
        """Yields the features of samples from the prior, `[b, D]`."""
        examples, sampler = self.examples, self.sampler
        share = examples.batch_size // examples.strategy.num_replicas_in_sync
        parts = cores.num_parts(share, replicas.num_local_replicas(examples.strategy))

        def features(labels, first_position):
            first = examples.first_position_here(first_position, share)
            with random.keyed(examples.seed, "samples", 0, first), cores.cutting_blocks(parts):
                own = None if labels is None else replicas.own_part(labels)
                with user_code.running(sampler, "sample"):
                    return self._features(sampler.sample(share, own))

        compiled = examples.on_replicas(features)
        labels = _labels(examples, sampler, num_samples)
        for first in range(0, num_samples, examples.batch_size):
            watchdog.progress(f"samples {first} and on of {num_samples}")
            own = None if labels is None else tf.constant(labels[first : first + examples.batch_size])
            yield self._local(compiled(own, tf.constant(first, tf.int64)))[: num_samples - first]

    def _features(self, images):
        return cores.in_parts(self.net, tf.clip_by_value(images, 0.0, 1.0))

    def _local(self, value):
        return np.concatenate(
            [each.numpy() for each in self.examples.strategy.experimental_local_results(value)]
        )

    def _size(self, metric, of):
        num_images = len(self.examples.indices)
        return (metric.num_samples or num_images) if of == "samples" else num_images


class _Collected(dict[type[FeatureSet], FeatureSet]):
    """What is kept of the features of one set, by the class that keeps it."""

    def __init__(self, net, name, kinds):
        super().__init__({kind: kind() for kind in kinds})
        self._net, self._name = net, name

    def add(self, features):
        if not np.isfinite(features).all():
            if self._name == "images":
                raise ConfigurationError(
                    f"the features that {self._net.file} gives of the images are not finite; choose another "
                    "net, layer or `FeatureNet.pixel_range`"
                )
            raise TrainingDiverged(
                f"the features of the {self._name} of this model are not finite; choose another checkpoint "
                "with `--checkpoint`, or train with a lower learning rate"
            )
        for each in self.values():
            each.add(features)


def _undefined_sets(examples, sampler):
    """Returns the sets that the model does not define, and why: name -> reason."""
    try:
        with random.keyed(0, "samples/trial", 0):
            labels = _labels(examples.in_batches_of(1), sampler, 1)
            sampler.sample(1, None if labels is None else tf.constant(labels))
    except NotImplementedError:
        return {"samples": "it has no prior to sample from"}
    except ConfigurationError as error:
        return {"samples": str(error)}
    return {}


def _labels(examples, sampler, num_samples):
    """Returns the labels of samples, int64 `[n, F]` up to a whole batch; None where the sampler reads none.

    They are those of the images, spread evenly over them if there are more of these, and repeated if
    there are fewer.
    """
    if "labels" not in sampler.reads:
        return None
    chosen = spread_indices(len(examples.indices), num_samples)
    whole = -(-num_samples // examples.batch_size) * examples.batch_size
    indices = np.resize(examples.indices[chosen], whole)
    return np.asarray(examples.split.labels(tf.constant(indices, tf.int64)), np.int64)


def _checked(metric, named):
    """Returns what a metric gave as floats."""
    if not isinstance(named, dict):
        raise user_code.wrong(metric, "compare", f"must return a dict, name -> float, it returned {named!r}")
    for name, value in named.items():
        if not isinstance(value, (int, float, np.number)):
            problem = f"gives {name!r} as {user_code.described(value)}; it must be a number"
            raise user_code.wrong(metric, "compare", problem)
    return {name: float(value) for name, value in named.items()}
