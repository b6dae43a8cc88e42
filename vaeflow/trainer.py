"""The training loop: many steps inside one call, on every replica."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from vaeflow import compile_modes, distribute, optimizers, validation
from vaeflow.datasets import pipeline
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.replica_step import ReplicaStep, norm_name


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
      steps_per_loop: the number of steps between two returns to Python, at most.
      compile_mode: `"none"`, `"step"`, `"loop"` or `"auto"`; see `compile_modes`.
      resident_data: whether the split is held on the devices; `"auto"` where it is
        an array that fits.
      gradient_clip_norm: the largest global norm of a gradient, or None.
      gradient_accumulation_steps: parts into which a replica cuts its examples.
      ema_decay: the decay of an exponential moving average of the weights, or None.

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
        self.split = split
        self.strategy = strategy
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_loop = steps_per_loop
        self.ema_decay = ema_decay
        self.step = 0
        self._order = ExampleOrder(split.num_examples, batch_size, seed)
        _check_division(batch_size, strategy.num_replicas_in_sync, gradient_accumulation_steps)
        self.model, self.optimizer = model, optimizer
        with strategy.scope():
            _tell_size_of_split(model, split)
            model.build((None, *split.shape))
            for group in model.all_parameter_groups(optimizer).values():
                optimizers.build_for_reduced_gradients(group.optimizer, group.variables)
            _refuse_dependence_on_replicas(model, strategy.num_replicas_in_sync)
            self._averages = [tf.Variable(v, trainable=False) for v in self._averaged_variables()]
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
        self.compile_mode = compile_modes.resolve(compile_mode, strategy, self.model, self.resident)
        self._metric_names = self._try_one_step()
        self._source = None
        self._loop = None

    def run(self, num_steps):
        """Trains for `num_steps` steps, at most `steps_per_loop`, inside one call.

        Returns:
          A dict of floats: the mean over the steps of the loss, each term, its
          weight and the gradient's norm; and `input_seconds`, the time spent
          waiting for input.

        Raises:
          DataError: an example cannot be read.
          TrainingDiverged: the loss or gradient of a step was not finite. Its update
            was skipped on all replicas together.
          ValueError: `num_steps` is above `steps_per_loop`.
        """
        if num_steps > self.steps_per_loop:
            # The indices end there; a compiled loop would repeat the last batch.
            raise ValueError(f"`num_steps` must be at most {self.steps_per_loop}, got {num_steps}")
        if self._loop is None:
            self._source = self._make_source()
            self._loop = self._make_loop()
        source = self._source() if callable(self._source) else self._source
        first_step = tf.constant(self.step, tf.int64)
        with pipeline.readable_errors():
            totals, waited, first_bad = self._loop(source, first_step, tf.constant(num_steps, tf.int64))
            totals = {name: float(total) for name, total in totals.items()}
        if first_bad >= 0:
            raise _diverged(int(first_bad), totals)
        self.step += num_steps
        means = {name: total / num_steps for name, total in totals.items()}
        return means | {"input_seconds": float(waited)}

    def checkpoint(self):
        """Returns a `tf.train.Checkpoint` of all that the future of the run depends on, but the step.

        Learning rates are not in it: the configuration says what they are.
        """
        states = {
            "optimizer" if name is None else f"{name}_optimizer": _state(group.optimizer)
            for name, group in self.model.all_parameter_groups(self.optimizer).items()
        }
        return tf.train.Checkpoint(
            model=[variable.value for variable in self.model.variables], averages=self._averages, **states
        )

    def learning_rates(self):
        """Returns the learning rate of each parameter group as it is now, a dict of floats."""
        return {
            "learning_rate" if name is None else f"{name}_learning_rate": float(
                keras.ops.convert_to_numpy(group.optimizer.learning_rate)
            )
            for name, group in self.model.all_parameter_groups(self.optimizer).items()
        }

    def resume_at(self, step):
        """Continues at `step`, after the checkpoint was read: its batch is the next."""
        self.step = step
        self._source = self._loop = None

    @contextlib.contextmanager
    def averaged_weights(self):
        """Gives the model the moving average of its weights, if there is one, for a while."""
        variables = self._averaged_variables()
        kept = [variable.numpy() for variable in variables]
        for variable, average in zip(variables, self._averages):
            variable.assign(average.numpy())
        try:
            yield
        finally:
            for variable, value in zip(variables, kept):
                variable.assign(value)

    def _averaged_variables(self):
        if self.ema_decay is None:
            return []
        return [variable.value for variable in self.model.trainable_variables]

    def _try_one_step(self):
        """Runs the objective once on blank images, so that a faulty block is found at once."""
        blank = tf.zeros((3, *self.split.shape), self.split.dtype)
        statistics = [variable.value for variable in self.model.non_trainable_variables]
        kept = [variable.numpy() for variable in statistics]
        _, shares = self.replica_step.loss(blank, step=0)
        for variable, value in zip(statistics, kept):
            variable.assign(value)
        return [*shares, *(norm_name(group) for group in self.replica_step.groups)]

    def _make_source(self):
        """Returns what the loop reads: an iterator, or a function that gives (array, indices)."""
        if not self.resident:
            return pipeline.training_batches(self.split, self._order, self.strategy, self.step)
        array = pipeline.place_on_devices(self.split.array, self.strategy)

        def indices_of_next_steps():
            steps = range(self.step, self.step + self.steps_per_loop)
            return array, tf.constant(np.stack([self._order.batch(step) for step in steps]), tf.int32)

        return indices_of_next_steps

    def _make_loop(self):
        one_step = self._one_resident_step if self.resident else self._one_streamed_step
        if self.compile_mode == "step":
            one_step = tf.function(one_step, jit_compile=True, autograph=False)
        dtype = tf.as_dtype(self.model.variable_dtype)

        @tf.function(jit_compile=self.compile_mode == "loop", autograph=False)
        def loop(source, first_step, num_steps):
            def body(offset, totals, waited, first_bad):
                step = first_step + offset
                batch, seconds = self._next_batch(source, offset)
                metrics, finite = one_step(batch, step)
                totals = {name: totals[name] + metrics[name] for name in totals}
                first_bad = tf.where(finite | (first_bad >= 0), first_bad, step)
                return offset + 1, totals, waited + seconds, first_bad

            start = (
                tf.constant(0, tf.int64),
                {name: tf.zeros([], dtype) for name in self._metric_names},
                tf.constant(0.0, tf.float64),
                tf.constant(-1, tf.int64),
            )
            return tf.while_loop(lambda offset, *_: offset < num_steps, body, start)[1:]

        return loop

    def _next_batch(self, source, offset):
        if self.resident:
            array, indices = source
            return (array, indices[offset]), tf.constant(0.0, tf.float64)
        before = tf.timestamp()
        with tf.control_dependencies([before]):
            batch = next(source)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            return batch, tf.timestamp() - before

    def _one_streamed_step(self, images, step):
        return self._update(*self.strategy.run(self.replica_step.gradient, (images, step)))

    def _one_resident_step(self, source, step):
        def gradient(array, indices, step):
            images = tf.gather(array, pipeline.own_part(indices))
            return self.replica_step.gradient(images, step)

        return self._update(*self.strategy.run(gradient, (*source, step)))

    def _update(self, gradients, metrics, finite):
        """Applies the gradients where they are finite, on all replicas or on none."""
        metrics, finite = distribute.first_replica(self.strategy, (metrics, finite))

        def apply():
            self.strategy.run(self.replica_step.apply, (gradients,))
            self._update_averages()
            return True

        tf.cond(finite, apply, lambda: False)
        return metrics, finite

    def _update_averages(self):
        if self.ema_decay is None:
            return
        # Grows to `ema_decay`, so that the first weights are soon forgotten.
        count = tf.cast(self.optimizer.iterations, tf.float64)
        decay = tf.minimum(tf.constant(self.ema_decay, tf.float64), (1.0 + count) / (10.0 + count))

        def move(average, variable):
            average.assign_sub(tf.cast(1.0 - decay, average.dtype) * (average - variable))

        for average, variable in zip(self._averages, self._averaged_variables()):
            self.strategy.extended.update(average, move, args=(variable,))


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


def _diverged(step, totals):
    bad = [name for name, total in totals.items() if name != "loss" and not np.isfinite(total)]
    return TrainingDiverged(
        f"training diverged at step {step}: {bad[0] if bad else 'loss'} is not finite; its update was "
        "skipped. Try a lower learning rate or `train.gradient_clip_norm`"
    )
