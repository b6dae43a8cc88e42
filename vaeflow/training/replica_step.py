"""One replica's part of a training step: its share of the loss, the gradients and the update."""

import functools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from vaeflow import optimizers
from vaeflow.datasets import Split, pipeline, stored_batches
from vaeflow.devices import cores, replicas
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.kernels.global_norm import global_norm
from vaeflow.layers.terms import Update
from vaeflow.models import weight_names
from vaeflow.models.base import Model
from vaeflow.models.terms import (
    check_forward,
    check_groups,
    check_joined,
    check_measured,
    check_terms,
    check_updated,
)
from vaeflow.training import carrying_out
from vaeflow.training.carrying_out import StepResult
from vaeflow.training.compiled_pass import CompiledPass
from vaeflow.training.loss_shares import Probe, coupling_of, norm_name, share_of_loss, weight_name
from vaeflow.training.moving_average import MovingAverage
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.traced_once import traced_once

_SKIPPED = "skipped"


class ReplicaStep:
    """Computes the gradient of the global batch's loss, and applies it.

    Each parameter group of the model has a loss, the sum of its terms, whose gradient
    is taken with respect to the group's own variables only. In this order: each
    replica's share of the gradients and of the statistics of the model's updates, summed
    over the replicas; the joined losses, whose gradients are added to those of their groups; the
    check that all are finite; clipping of each group by its own global norm; the update of all
    groups that are due, and of what the updates change.

    Args:
      model: a built model.
      optimizer: of the model's own group. It, and those of the model's other groups,
        are built by `optimizers.build_for_reduced_gradients`.
      split: the training `Split`.
      settings: the `TrainingSettings`.

    Attributes:
      parallel_parts: into how many parts a replica's examples are cut, side by side, for
        the cores of a CPU; 1 until `use_cores`.
      num_rounds: into how many parts they are cut before, one after the other.
      skips_by_selection: whether a step is skipped without a branch; see `carrying_out.selects`.
      updated_variables: the Keras variables that the model's updates change, known once a
        step was traced.
    """

    def __init__(
        self,
        model: Model,
        optimizer: keras.optimizers.Optimizer | None,
        split: Split,
        settings: TrainingSettings,
    ):
        self.model = model
        self.groups = model.all_parameter_groups(optimizer, settings.gradient_clip_norm)
        self.joined = model.joined_losses()
        check_joined(self.joined, self.groups)
        self.split = split
        self.settings = settings
        self.parallel_parts = 1
        self.num_rounds = settings.gradient_accumulation_steps
        self._block_parts = 1
        self._has_equal_parts = False
        self._compiled_pass = None
        self.skips_by_selection = carrying_out.selects(self.groups)
        self.updated_variables: list[keras.Variable] = []
        chosen = weight_names.chosen_variables(model, settings.frozen, "train.frozen")
        self._frozen = {id(variable) for variable in chosen}

    def probe(self, batch: Mapping[str, tf.Tensor]) -> Probe:
        """Runs the objective once, so that a faulty block is found before training starts.

        Args:
          batch: name -> `[b, …]`, with images as stored.

        Raises:
          ConfigurationError: a term has the wrong shape or group, or accumulation would
            compute a coupled objective on parts of the batch.
        """
        terms, updates, block_losses = self._pass(batch, 0, 0)
        statistics = _statistics(updates)
        self._new_values(updates, statistics)
        measured = _measured(updates, statistics)
        coupling = coupling_of(self.model, terms)
        if self.settings.gradient_accumulation_steps > 1 and coupling:
            raise ConfigurationError(
                f"`train.gradient_accumulation_steps` must be 1 for this model: {coupling} couples the "
                "whole batch, and would be computed on parts of it"
            )
        _, shares = share_of_loss(terms, block_losses, self.settings.batch_size, 1)
        skips = [] if self.settings.skip_gradient_norm is None else [_SKIPPED]
        joined = [name_of(joined) for joined in self.joined for name_of in (weight_name, norm_name)]
        norms = [norm_name(group) for group in self.groups]
        check_measured(measured, [*shares, *joined, *norms, *skips], self.model)
        return Probe(
            metric_names=[*shares, *joined, *norms, *skips, *measured],
            coupling=coupling,
            has_block_losses=bool(block_losses),
            normalizes_over_batch=any(
                isinstance(layer, keras.layers.BatchNormalization) for layer in self.model.all_layers()
            ),
        )

    def use_cores(self, num_parts: int, probe: Probe, num_rounds: int = 1) -> None:
        """Cuts the examples for the cores of a CPU, as far as the objective allows.

        An objective that couples the examples stays whole: only those of single blocks are
        cut. Nothing is cut where blocks also track losses, or normalize over the batch.

        Args:
          num_parts: into how many parts, side by side; it divides a replica's examples.
          probe: what `probe` returned.
          num_rounds: into how many parts each of them, one after the other; it divides those.
        """
        if probe.normalizes_over_batch:
            return
        if probe.coupling is None:
            self.parallel_parts = num_parts
            self.num_rounds *= num_rounds
            self._has_equal_parts = self.num_rounds * self.parallel_parts > 1
        elif not probe.has_block_losses:
            self._block_parts = num_parts

    def compile_on_each(self, probe: Probe) -> None:
        """Lets XLA compile what each of several replicas computes; see `CompiledPass`.

        Args:
          probe: what `probe` returned.
        """
        self._compiled_pass = CompiledPass(self.model, probe)

    def loss(
        self, batch: Mapping[str, tf.Tensor], step: int | tf.Tensor, first_position: int | tf.Tensor = 0
    ) -> tuple[dict[str | None, tf.Tensor], dict[str, tf.Tensor]]:
        """Computes the shares of the losses of some examples of the global batch.

        Args:
          batch: name -> `[b, …]`, with images as stored.
          step: the global step.
          first_position: the position in the global batch of the first example.

        Returns:
          As `share_of_loss`.
        """
        terms, _, block_losses = self._pass(batch, step, first_position)
        return self._shares(terms, block_losses)

    def compute(
        self, batch: stored_batches.ResidentBatch | stored_batches.StoredBatch, step: int | tf.Tensor
    ) -> StepResult:
        """Computes the clipped gradients of the global batch's losses, inside a replica.

        Args:
          batch: this replica's part of the global batch.
          step: the global step.
        """
        (gradients, metrics, statistics), updates = self._accumulated(batch, step)
        names = sorted(metrics)
        packed = tf.stack([metrics[name] for name in names])
        gradients, packed, statistics = replicas.sum_over_replicas(
            (gradients, packed, statistics), self.settings.bytes_per_pack
        )
        metrics = dict(zip(names, tf.unstack(packed), strict=True))
        new_values = self._new_values(updates, statistics)
        gradients, weights, norms = optimizers.join(gradients, self.groups, self.joined)
        measured = _measured(updates, statistics)
        measured |= {weight_name(name): weights[name] for name in self.joined}
        measured |= {norm_name(name): norms[name] for name in self.joined}
        metrics |= {name: tf.cast(each, packed.dtype) for name, each in measured.items()}
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in (packed, *new_values)])
        applies = tf.constant(True)
        clipped = []
        for (name, group), group_gradients in zip(self.groups.items(), gradients, strict=True):
            norm = global_norm(group_gradients)
            finite &= tf.math.is_finite(norm)
            clipped.append(optimizers.clip(group_gradients, group.gradient_clip_norm, norm))
            metrics[norm_name(name)] = tf.cast(norm, packed.dtype)
            if self.settings.skip_gradient_norm is not None:
                applies &= norm < self.settings.skip_gradient_norm
        if self.settings.skip_gradient_norm is not None:
            metrics[_SKIPPED] = tf.cast(tf.logical_not(applies), packed.dtype)
        return StepResult(clipped, new_values, metrics, finite, finite & applies)

    def apply(
        self,
        strategy: tf.distribute.Strategy,
        result: StepResult,
        step: int | tf.Tensor,
        average: MovingAverage | None = None,
    ) -> tf.Tensor:
        """Carries out a step on all replicas, or on none; call it outside of them.

        Args:
          strategy: the strategy of the variables.
          result: what `compute` returned on each replica.
          step: the global step.
          average: of the weights, which follows them; None for none.

        Returns:
          A tensor that is known when this is done.
        """
        return carrying_out.carry_out(
            strategy, self.groups, self.updated_variables, result, step, average, self.skips_by_selection
        )

    def _shares(self, terms, block_losses):
        num_parts = replicas.num_replicas() * self.num_rounds * self.parallel_parts
        return share_of_loss(terms, block_losses, self.settings.batch_size, num_parts)

    def _pass(self, stored, step, first_position):
        """Runs the model and its objective; returns the terms, the updates and the blocks' losses."""
        dtype, seed = self.model.variable_dtype, self.settings.seed
        with (
            pipeline.keyed_batch(
                self.split, stored, dtype, seed, "train", step, first_position, self.settings.batch_size
            ) as batch,
            cores.cutting_blocks(self._block_parts),
        ):
            with user_code.running(self.model, "forward"):
                forward = self.model.forward(batch, step, training=True)
                check_forward(forward, self.model)
            with user_code.running(self.model, "objective"):
                terms = self.model.objective(forward, step)
            with user_code.running(self.model, "updates"):
                updates = self.model.updates(forward, step)
        check_terms(terms, stored["images"].shape[0], self.model)
        check_groups(terms, self.groups, self.joined)
        return terms, updates, forward.block_losses

    def _new_values(self, updates, statistics):
        """Computes what the updates change, from sums over the global batch; notes the variables."""
        pairs = [pair for name, each in updates.items() for pair in each.new_values(statistics[name])]
        check_updated(pairs, self.groups)
        pairs = [(variable, value) for variable, value in pairs if id(variable) not in self._frozen]
        # The same on every replica, each of which traces this.
        self.updated_variables = [variable for variable, _ in pairs]
        return [tf.cast(value, variable.dtype) for variable, value in pairs]

    def _accumulated(self, batch, step):
        """Sums gradients, shares and statistics over the parts of this replica's examples.

        Returns:
          The sums; and the updates, a dict, as the first part gave them.
        """
        size = batch.num_examples // self.num_rounds
        gradient_of = functools.partial(self._gradient_of, step)
        if self._compiled_pass is not None:
            gradient_of = self._compiled_pass.of(gradient_of)
        elif self._has_equal_parts and replicas.num_replicas() == 1:
            gradient_of = traced_once(gradient_of)
        first_position = replicas.replica_index() * batch.num_examples
        bounds = cores.bounds(size, self.parallel_parts)
        totals: Any = None
        for start in range(0, batch.num_examples, size):
            # One round after the other: side by side they would save no memory and fill the caches.
            with tf.control_dependencies(tf.nest.flatten(totals) if totals else []):
                parts = [batch.part(start + first, start + last) for first, last in bounds]
            results, updates = zip(
                *[
                    gradient_of(part, first_position + start + first)
                    for part, (first, _) in zip(parts, bounds, strict=True)
                ],
                strict=True,
            )
            results += (totals,) if totals else ()
            totals = tf.nest.map_structure(lambda *values: tf.add_n(values), *results)
        return totals, updates[0]

    def _gradient_of(self, step, batch, first_position):
        weights = [variable.value for group in self.groups.values() for variable in group.variables]
        with tf.GradientTape(persistent=len(self.groups) + len(self.joined) > 1) as tape:
            # A tape watches variables by itself, but no tensors that stand in for them.
            tape.watch([weight for weight in weights if isinstance(weight, tf.Tensor)])
            terms, updates, block_losses = self._pass(batch, step, first_position)
            losses, shares = self._shares(terms, block_losses)
        gradients = optimizers.gradients_of(tape, losses, self.groups, self.joined)
        return (gradients, shares, _statistics(updates)), updates


def _statistics(updates: dict[str, Update]) -> dict[str, Any]:
    return {name: update.statistics for name, update in updates.items()}


def _measured(updates, statistics):
    """Returns what updates log of sums over the global batch, name -> scalar."""
    return {
        name: value
        for update_name, update in updates.items()
        for name, value in update.metrics(statistics[update_name]).items()
    }
