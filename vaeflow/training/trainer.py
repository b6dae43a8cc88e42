"""A model in training: its steps, what they measure, and all of it that a checkpoint keeps."""

import time

import keras
import numpy as np
import tensorflow as tf

from vaeflow import optimizers, validation
from vaeflow.datasets.order import ExampleOrder
from vaeflow.devices import compile_modes, cores, graph_rewrites, replicas
from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.runs.totals import Totals
from vaeflow.training.moving_average import MovingAverage
from vaeflow.training.replica_step import ReplicaStep, norm_name
from vaeflow.training.step_loop import StepLoop


class Trainer:
    """Trains a model on the replicas of a strategy; everything it holds can be saved.

    Example `i` of batch `s`, its noise, and so the weights after any step are the
    same for every number of replicas, up to rounding.

    Args:
      model: a model, made in the strategy's scope; it is built here.
      optimizer: a new Keras optimizer, made in the strategy's scope.
      split: the training `Split`.
      binarization: of the dataset, `"none"`, `"static"` or `"dynamic"`.
      strategy: a `tf.distribute` strategy.
      batch_size: the global batch size.
      seed: keys the order of examples and the noise; seed the initial weights with
        `keras.utils.set_random_seed` before making the model.
      steps_per_loop: the number of steps inside one call, at most.
      compile_mode: `"none"`, `"step"`, `"loop"` or `"auto"`; see `compile_modes`.
      resident_data: whether the split is held on the devices; `"auto"` where it is
        an array that fits.
      gradient_clip_norm: the largest global norm of a gradient, or None.
      gradient_accumulation_steps: parts into which a replica cuts its examples.
      ema_decay: the decay of an exponential moving average of the weights, or None.

    Attributes:
      step: the number of steps that were trained.
      totals: the `Totals` of the steps since they were last taken.

    Raises:
      ConfigurationError: settings that do not fit together.
    """

    def __init__(
        self,
        model,
        optimizer,
        split,
        binarization,
        strategy,
        batch_size,
        seed=0,
        steps_per_loop=100,
        compile_mode="auto",
        resident_data="auto",
        gradient_clip_norm=None,
        gradient_accumulation_steps=1,
        ema_decay=None,
    ):
        graph_rewrites.make_reproducible()
        self.split = split
        self.strategy = strategy
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_loop = steps_per_loop
        self.step = 0
        self.totals = Totals()
        self._order = ExampleOrder(split.num_examples, batch_size, seed)
        _check_division(batch_size, strategy.num_replicas_in_sync, gradient_accumulation_steps)
        self.model, self.optimizer = model, optimizer
        with strategy.scope():
            _tell_size_of_split(model, split)
            model.build((None, *split.shape))
            for group in model.all_parameter_groups(optimizer).values():
                optimizers.build_for_reduced_gradients(group.optimizer, group.variables)
            _refuse_dependence_on_replicas(model, strategy.num_replicas_in_sync)
            self._average = MovingAverage(model, ema_decay)
        self.replica_step = ReplicaStep(
            self.model,
            self.optimizer,
            binarization,
            batch_size,
            seed,
            gradient_clip_norm,
            gradient_accumulation_steps,
        )
        self.resident = compile_modes.resolve_residency(resident_data, split)
        self.compile_mode = compile_modes.resolve(compile_mode, strategy, self.resident)
        self._metric_names = self._try_one_step()
        if self.compile_mode == "none":
            examples = batch_size // strategy.num_replicas_in_sync // gradient_accumulation_steps
            self.replica_step.use_cores(cores.num_parts(examples, replicas.num_local_replicas(strategy)))
        self._loop = None

    def advance(self, num_steps):
        """Trains for `num_steps` steps inside one call, and adds what they measure to `totals`.

        Args:
          num_steps: at most `steps_per_loop`.

        Returns:
          The seconds it took, a float.

        Raises:
          DataError: an example cannot be read.
          TrainingDiverged: the loss or gradient of a step was not finite. Its update
            was skipped on all replicas together.
          ValueError: `num_steps` is above `steps_per_loop`.
        """
        started = time.monotonic()
        if self._loop is None:
            self._loop = StepLoop(
                self.replica_step,
                self._average,
                self.split,
                self._order,
                self.strategy,
                self.compile_mode,
                self.resident,
                self.steps_per_loop,
                self.step,
            )
        before = self.totals
        start = before.sums or dict.fromkeys(self._metric_names, 0.0)
        sums, waited, first_bad = self._loop.run(self.step, num_steps, start)
        if first_bad is not None:
            raise _diverged(first_bad, sums)
        self.step += num_steps
        seconds = time.monotonic() - started
        self.totals = Totals(
            before.num_steps + num_steps, before.seconds + seconds, before.input_seconds + waited, sums
        )
        return seconds

    def take_totals(self):
        """Returns the `totals`, and begins new ones."""
        totals, self.totals = self.totals, Totals()
        return totals

    def run(self, num_steps):
        """Trains as `advance` does, and returns the means.

        Returns:
          A dict of floats: the mean over the steps, with those of `totals` before, of the
          loss, each term, its weight and the gradient's norm; and `input_seconds`, the
          time spent waiting for input.
        """
        self.advance(num_steps)
        totals = self.take_totals()
        return totals.means() | {"input_seconds": totals.input_seconds}

    def checkpoint(self):
        """Returns a `tf.train.Checkpoint` of all that the future of the run depends on, but the step.

        Learning rates are not in it: the configuration says what they are.
        """
        states = {
            "optimizer" if name is None else f"{name}_optimizer": _state(group.optimizer)
            for name, group in self.model.all_parameter_groups(self.optimizer).items()
        }
        return tf.train.Checkpoint(
            model=[variable.value for variable in self.model.variables],
            averages=self._average.variables,
            **states,
        )

    def learning_rates(self):
        """Returns the learning rate of each parameter group as it is now, a dict of floats."""
        return {
            "learning_rate" if name is None else f"{name}_learning_rate": float(
                keras.ops.convert_to_numpy(group.optimizer.learning_rate)
            )
            for name, group in self.model.all_parameter_groups(self.optimizer).items()
        }

    def resume_at(self, step, totals=Totals()):
        """Continues at `step`, after the checkpoint was read: its batch is the next.

        Args:
          step: the number of steps that were trained.
          totals: the `Totals` of a loop that was cut short there. Where a changed
            configuration measures something else, they are left out of the next log.
        """
        self.step = step
        self.totals = totals if totals.sums.keys() == set(self._metric_names) else Totals()
        self._loop = None

    def averaged_weights(self):
        """Gives the model the moving average of its weights, if there is one, for a while."""
        return self._average.in_place_of_weights()

    def _try_one_step(self):
        """Runs the objective once on blank images, so that a faulty block is found at once."""
        blank = tf.zeros((3, *self.split.shape), self.split.dtype)
        statistics = [variable.value for variable in self.model.non_trainable_variables]
        kept = [variable.numpy() for variable in statistics]
        _, shares = self.replica_step.loss(blank, step=0)
        for variable, value in zip(statistics, kept):
            variable.assign(value)
        return [*shares, *(norm_name(group) for group in self.replica_step.groups)]


def _tell_size_of_split(model, split):
    """Fills in the number of training examples for a model whose objective needs it."""
    if getattr(model, "num_examples", 0) is None:
        model.num_examples = split.num_examples


def _state(optimizer):
    return [variable.value for variable in optimizer.variables if variable.name != "learning_rate"]


def _check_division(batch_size, num_replicas, gradient_accumulation_steps):
    validation.positive_integer("train.batch_size", batch_size)
    validation.positive_integer("train.gradient_accumulation_steps", gradient_accumulation_steps)
    parts = num_replicas * gradient_accumulation_steps
    if batch_size % parts:
        raise ConfigurationError(
            f"`train.batch_size` is global and must be divisible by the number of replicas "
            f"({num_replicas}) times `train.gradient_accumulation_steps` ({gradient_accumulation_steps}), "
            f"got {batch_size}; try {max(1, round(batch_size / parts)) * parts}"
        )


def _refuse_dependence_on_replicas(model, num_replicas):
    """Refuses blocks of Keras' own that would make the result depend on the number of replicas."""
    if num_replicas == 1:
        return
    for layer in model._flatten_layers():
        if any(isinstance(value, keras.random.SeedGenerator) for value in vars(layer).values()):
            raise ConfigurationError(
                f"the layer {layer.name!r} ({type(layer).__name__}) draws Keras' noise, which is the same "
                f"on each of the {num_replicas} replicas; draw it with vaeflow.random, or train on one"
            )
        if isinstance(layer, keras.layers.BatchNormalization) and not layer.synchronized:
            raise ConfigurationError(
                f"the layer {layer.name!r} normalizes over each replica's examples alone; give it "
                "synchronized=True, or use GroupNormalization or LayerNormalization"
            )


def _diverged(step, sums):
    bad = [name for name, total in sums.items() if name != "loss" and not np.isfinite(total)]
    return TrainingDiverged(
        f"training diverged at step {step}: {bad[0] if bad else 'loss'} is not finite; its update was "
        "skipped. Try a lower learning rate or `train.gradient_clip_norm`"
    )
