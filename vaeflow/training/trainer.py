"""A model in training: its steps, their metrics, and all of it that a checkpoint keeps."""

import contextlib
import math

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from vaeflow import optimizers
from vaeflow.datasets import Split, stored_batches
from vaeflow.datasets.checks import check_augmentations, check_examples
from vaeflow.datasets.order import ExampleOrder
from vaeflow.devices import compile_modes, cores, graph_rewrites, replicas
from vaeflow.errors import TrainingDiverged
from vaeflow.models import frozen_blocks
from vaeflow.models.base import Model
from vaeflow.runs.totals import Totals
from vaeflow.training import building, calls
from vaeflow.training.calls import Calls
from vaeflow.training.learning_rates import LearningRates
from vaeflow.training.moving_average import MovingAverage
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.step_loop import StepLoop

_NOTHING_YET = Totals()
_TRIED_IMAGES = 3


class Trainer:
    """Trains a model on the replicas of a strategy; everything it holds can be saved.

    Example `i` of batch `s`, its noise, and so the weights after any step are the
    same for every number of replicas, up to rounding.

    Args:
      model: a model, made in the strategy's scope; it is built here. To seed its initial
        weights call `keras.utils.set_random_seed` before you make it.
      optimizer: a new Keras optimizer, made in the strategy's scope.
      split: the training `Split`.
      settings: the `TrainingSettings`.
      strategy: a `tf.distribute` strategy; None for TensorFlow's default, one device.

    Attributes:
      step: the number of steps that were trained.
      totals: the `Totals` of the steps since they were last taken.
      call_seconds: the time spent inside TensorFlow's calls so far.
      compile_mode: `"none"`, `"step"` or `"loop"`, as it was chosen.
      resident: whether the devices hold the split.
      rates: the `LearningRates` of the optimizers.

    Raises:
      ConfigurationError: settings that do not fit together.

    Example:

        vae = vaeflow.VAE(num_latents=10)
        split = datasets.InMemorySplit(images)  # uint8 [N, H, W, C]
        trainer = vaeflow.Trainer(vae, Adam(1e-3), split, TrainingSettings(batch_size=64))
        print(trainer.train_and_report(100)["loss"])
    """

    def __init__(
        self,
        model: Model,
        optimizer: keras.optimizers.Optimizer,
        split: Split,
        settings: TrainingSettings,
        strategy: tf.distribute.Strategy | None = None,
    ):
        graph_rewrites.choose()
        check_examples(split)
        check_augmentations(split)
        self.model, self.optimizer = model, optimizer
        self.split = split
        self.settings = settings
        self.strategy = tf.distribute.get_strategy() if strategy is None else strategy
        building.check_division(settings, self.strategy.num_replicas_in_sync)
        if settings.batch_size > split.num_examples:
            logging.warning(
                "`train.batch_size` is %d and there are %d training images: each batch holds images more "
                "than once; lower it if that is not meant",
                settings.batch_size,
                split.num_examples,
            )
        building.build(model, optimizer, split, settings, self.strategy)
        with self.strategy.scope():
            self._average = MovingAverage(model, settings.ema_decay)
        num_replicas = replicas.num_local_replicas(self.strategy)
        resident = compile_modes.resolve_residency(settings.resident_data, split, num_replicas)
        # Workers may have more or less memory left than others; all do the same.
        self.resident = replicas.mean_over_workers(self.strategy, resident) == 1
        self.compile_mode = compile_modes.resolve(settings.compile_mode, self.strategy, self.resident)
        self.replica_step = ReplicaStep(model, optimizer, split, settings)
        self._metric_names = self._try_one_step()
        self._order = ExampleOrder(split.num_examples, settings.batch_size, settings.seed)
        owners = self._optimizers().items()
        self.rates = LearningRates({name: optimizer for name, (optimizer, _) in owners})
        self._calls = Calls(self._made_loop, self.rates.current)
        self._rates: dict[str, float] | None = None  # Where the next call may have moved them.
        self.step = 0
        self.totals = _NOTHING_YET
        self.call_seconds = 0.0

    def train(self, num_steps: int, next_steps: int = 0) -> float:
        """Trains for `num_steps` steps inside one call, and adds their metrics to `totals`.

        Args:
          num_steps: at most `TrainingSettings.steps_per_loop`; `steps_ahead` where it is not 0.
          next_steps: how many steps the next call has, which then begins before this returns, so that the
            devices do not wait for what the caller does in between; 0 for none. Before `train` is called
            for it, call `take_totals`, since its totals are new, and nothing that needs the weights.

        Returns:
          The seconds it took.

        Raises:
          DataError: an example cannot be read.
          TrainingDiverged: the loss or gradient of a step was not finite. Its update
            was skipped on all replicas together, and a call that has begun after this one trains nothing.
          ValueError: `num_steps` is above `steps_per_loop`, or not `steps_ahead`.
        """
        before = self.totals
        start = before.sums or dict.fromkeys(self._metric_names, 0.0)
        result, seconds, rates = self._calls.make(self.step, num_steps, start, next_steps)
        self._rates = rates if self.steps_ahead else None
        self.call_seconds += result.seconds
        if result.first_bad_step is not None:
            self._calls.settle()
            raise _diverged(result.first_bad_step, result.sums)
        self.step += num_steps
        self.totals = Totals(
            before.num_steps + num_steps,
            before.seconds + seconds,
            before.input_seconds + result.input_seconds,
            result.sums,
        )
        return seconds

    @property
    def steps_ahead(self) -> int:
        """How many steps the call has that has begun before it was asked for; 0 if there is none."""
        return self._calls.steps_ahead

    @property
    def can_begin_ahead(self) -> bool:
        """Whether `train` may be called with `next_steps`, and anything is gained by it.

        Not for the first call, nor of several workers, which have to agree between two calls.
        """
        return (
            self._calls.has_called
            and calls.gain_by_beginning_ahead()
            and not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy)
            # Outside of the caller's scope the loop would be traced anew; a debugger sees one thread.
            and not tf.distribute.has_strategy()
            and not tf.config.functions_run_eagerly()
        )

    def settle(self) -> None:
        """Waits for a call that has begun ahead, after an error; `step` is then that of the weights again."""
        self.step += self._calls.settle()

    def take_totals(self) -> Totals:
        """Returns the `totals`, and starts new ones."""
        totals, self.totals = self.totals, _NOTHING_YET
        return totals

    def train_and_report(self, num_steps: int) -> dict[str, float]:
        """Trains as `train` does, and returns the means.

        Returns:
          A dict of floats: the mean over the steps, with those of `totals` before, of the
          loss, each term, its weight and the gradient's norm; and `input_seconds`, the
          time spent waiting for input.
        """
        self.train(num_steps)
        totals = self.take_totals()
        return totals.means() | {"input_seconds": totals.input_seconds}

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns a checkpoint of everything that determines the rest of the run, except the step.

        Learning rates are not in it: the configuration says what they are.
        """
        states = {
            "optimizer" if name is None else f"{name}_optimizer": _state(optimizer)
            for name, (optimizer, _) in self._optimizers().items()
        }
        return tf.train.Checkpoint(
            model=[variable.value for variable in frozen_blocks.without(self.model, self.model.variables)],
            averages=self._average.variables,
            **states,
        )

    def restart_average(self) -> None:
        """Lets the moving average of the weights, if there is one, begin with the weights as they are."""
        self._average.restart()

    def learning_rates(self) -> dict[str, float]:
        """Returns the learning rate of each parameter group after `step` steps."""
        return self.rates.current() if self._rates is None else self._rates

    def resume_at(self, step: int, totals: Totals = _NOTHING_YET) -> None:
        """Continues at `step`, after the checkpoint was read: its batch is the next.

        The learning rates are those of the configuration again; a callback may have others to set.

        Args:
          step: the number of steps that were trained.
          totals: the `Totals` of a loop that was cut short there. Where a changed
            configuration measures something else, they are left out of the next log.
        """
        self.step = step
        self.rates.reset()
        self.totals = totals if totals.sums.keys() == set(self._metric_names) else _NOTHING_YET
        if not self.resident:  # Streamed batches come in their order only.
            self._calls = Calls(self._made_loop, self.rates.current)

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Replaces the weights with their moving average, if there is one, inside the `with` block."""
        return self._average.in_place_of_weights()

    def _made_loop(self, first_step):
        return StepLoop(
            self.replica_step,
            self._metric_names,
            self._average,
            self._order,
            self.strategy,
            self.compile_mode,
            self.resident,
            first_step,
        )

    def _optimizers(self):
        return optimizers.optimizers_of(self.model.all_parameter_groups(self.optimizer))

    def _try_one_step(self):
        """Runs the objective once on blank images, and decides what cores and XLA compute.

        Returns:
          The names of the metrics.
        """
        blank = stored_batches.blank_batch(self.split, _TRIED_IMAGES, self.model.reads)
        with _unchanged([variable.value for variable in self.model.non_trainable_variables]):
            probe = self.replica_step.probe(blank)
        num_replicas = self.strategy.num_replicas_in_sync
        if self.compile_mode == "step" and num_replicas > 1:
            self.replica_step.compile_on_each(probe)
        if self.compile_mode == "none":
            settings = self.settings
            examples = settings.batch_size // num_replicas // settings.gradient_accumulation_steps
            num_parts = cores.num_parts(examples, replicas.num_local_replicas(self.strategy))
            num_rounds = cores.num_rounds(examples // num_parts, _bytes_of_features(self.model))
            self.replica_step.use_cores(num_parts, probe, num_rounds)
        return probe.metric_names


def _bytes_of_features(model):
    """Returns how large the largest features are that a layer of a model takes from one example."""
    shapes = [(layer.get_build_config() or {}).get("input_shape") for layer in model.all_layers()]
    # Of a layer with several inputs they are nested.
    sizes = [math.prod(shape[1:]) for shape in shapes if shape and all(isinstance(n, int) for n in shape[1:])]
    return max(sizes, default=0) * tf.as_dtype(model.compute_dtype).size


@contextlib.contextmanager
def _unchanged(variables):
    """Gives variables the values back that they had before."""
    kept = [variable.numpy() for variable in variables]
    yield
    for variable, value in zip(variables, kept, strict=True):
        variable.assign(value)


def _state(optimizer):
    return [variable.value for variable in optimizer.variables if variable.name != "learning_rate"]


def _diverged(step, sums):
    bad = [name for name, total in sums.items() if name != "loss" and not np.isfinite(total)]
    return TrainingDiverged(
        f"training diverged at step {step}: {bad[0] if bad else 'loss'} is not finite; its update was "
        "skipped. Try a lower learning rate or `train.gradient_clip_norm`"
    )
