"""The base of every model: what training, Keras' `fit` and saving need, whatever the family."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from vaeflow import schedules, validation
from vaeflow.devices import cores, replicas
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.layers.constructor_config import ConstructorConfig
from vaeflow.layers.terms import Term, Update
from vaeflow.models import batches, frozen_blocks
from vaeflow.models.batches import Batch
from vaeflow.models.pixel_range import CheckedPixels
from vaeflow.models.terms import check_groups, check_joined, check_terms, losses_by_group
from vaeflow.optimizers import JoinedLoss, ParameterGroup, apply_due, clip, gradients_of, join


class Model(ConstructorConfig, CheckedPixels, keras.Model):  # pyright: ignore[reportIncompatibleMethodOverride] Keras' stub of `from_config`.
    """A model whose objective is a sum of named terms, trained the same on any number of replicas.

    A family of models implements `build`, `call`, `forward` and `objective`; it owns its
    blocks and what they mean. The `Trainer`, `fit` and `check_model` know only this class.

    Args:
      scope: which examples a term sees that couples them: `"global"`, the batch of all replicas,
        so that their number does not matter; or `"replica"`, each replica's part alone.

    Example:

        class Autoencoder(Model):
            def __init__(self, encoder, decoder, **kwargs):
                super().__init__(**kwargs)
                self.encoder, self.decoder = encoder, decoder
            …
            def objective(self, forward, step):
                error = tf.math.squared_difference(forward.images, forward.reconstruction)
                return {"reconstruction_loss": Term(tf.reduce_sum(error, axis=[1, 2, 3]))}
    """

    # Whether a term that has a value per example depends on other examples too. A term
    # that is a scalar always does.
    couples_examples = False

    # What it models: `"images"`, floats in [0, 1]; `"codes"`, int32 `[b, h, w, G]`; or `"latents"`, any
    # floats. A batch calls all of them `images`. Data of another kind (`Split.content`) are refused.
    takes = "images"

    # How many values each of the G codes of a place has, for a model that takes codes; a single number
    # stands for all groups.
    code_sizes: tuple[int, ...] = ()

    # What it takes of each example besides its image, e.g. `("labels",)`: int64 `[b, F]`, the
    # factors of a split. A source that has none is refused.
    reads: tuple[str, ...] = ()

    # How many values each label has, for a model that reads them.
    label_sizes: tuple[int, ...] = ()

    # Whether the largest value of the label may stand for "not known"; see `Dataset.num_labelled`.
    takes_unknown_labels = False

    # Whether a batch of training holds pairs of images; see `Split.has_pairs`.
    trains_on_pairs = False

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        _refuse_old_forward(cls)

    def __init__(self, scope: str = "global", **kwargs: Any):
        super().__init__(**kwargs)
        self.scope = validation.one_of(f"{type(self).__name__}.scope", scope, ("global", "replica"))

    def selection_score(self, results: dict[str, float]) -> float:
        """Returns the number by which the best checkpoint of a run is chosen; lower is better.

        Args:
          results: an evaluation on the validation split, as `Evaluator.evaluate` returns it.
        """
        return results["negative_elbo"]

    def forward(
        self, batch: Batch, step: int | tf.Tensor = schedules.END_OF_TIME, training: bool = False
    ) -> Any:
        """Runs the blocks once, and collects what they `add_loss`.

        The losses are read here, before any collective: replicas share the list, and
        a later read could find another replica's.

        Args:
          batch: `images` `[b, H, W, C]`, floats in [0, 1] unless it `takes` something else, and
            what `reads` names.
          step: the global step, an int or scalar tensor; outside of training the end of all
            schedules.
          training: whether blocks behave as in training.

        Returns:
          What `objective` needs. It has the attributes `images`, `training` and
          `block_losses`, a list of scalars.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `forward`")

    def objective(self, forward: Any, step: int | tf.Tensor) -> dict[str, Term]:
        """Names the terms of the loss; the only place for collectives.

        Args:
          forward: what `forward` returned.
          step: the global step, an int or scalar tensor, for schedules.

        Returns:
          A dict, name -> `Term`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `objective`")

    def updates(self, forward: Any, step: int | tf.Tensor) -> dict[str, Update]:
        """Names the changes of variables that no gradient makes, e.g. moving averages over the batch.

        Args:
          forward: what `forward` returned.
          step: the global step, an int or scalar tensor.

        Returns:
          A dict, name -> `Update`; empty where there are none.
        """
        return {}

    def evaluated(self, forward: Any) -> dict[str, tf.Tensor]:
        """Returns what an evaluation reports of this family, name -> `[b]`; nothing here.

        Args:
          forward: of one sample of the latents for each of b examples, if there are any; noise that is
            drawn here is keyed as its is.
        """
        return {}

    def all_layers(self) -> list[keras.layers.Layer]:
        """Lists the model and every layer in it, however deep; frozen blocks without what is in them."""
        return frozen_blocks.outside(list(self._flatten_layers()))

    def averaged_variables(self) -> list[keras.Variable]:
        """Lists what `train.ema_decay` averages: the trainable variables, and what blocks add to them."""
        added = [variable for layer in self.all_layers() for variable in getattr(layer, "averaged_with", ())]
        return [*self.trainable_variables, *added]

    def in_parts(self, block: Callable, examples: tf.Tensor, **arguments: Any) -> Any:
        """Calls a block, on the cores of a CPU side by side where that is quicker; same numbers.

        Args:
          block: a function of `[b, …]` that treats each example alone and returns `[b, …]`, or a nest of
            such tensors.
          examples: `[b, …]`.
          **arguments: passed on.
        """
        with user_code.running(block, "call"):
            return cores.in_parts(block, examples, **arguments)

    def gather(self, value: tf.Tensor) -> tf.Tensor:
        """Returns `value`, `[b, …]`, of the whole batch in scope, in its order; differentiable."""
        return replicas.gather(value) if self.scope == "global" else value

    def batch_size_in_scope(self, num_examples: int | tf.Tensor) -> int | tf.Tensor:
        """Returns the size of the batch in scope, of which this replica has `num_examples`."""
        return num_examples * replicas.num_replicas() if self.scope == "global" else num_examples

    def positions(self, num_examples: int | tf.Tensor) -> tf.Tensor:
        """Returns where this replica's examples are in the batch in scope, int32 `[num_examples]`."""
        first = replicas.replica_index() * num_examples if self.scope == "global" else 0
        return first + tf.range(num_examples)

    def parameter_groups(self) -> dict[str, ParameterGroup]:
        """Names the variables that have a loss of their own, and perhaps an optimizer.

        A model with an adversary overrides it; a `Term` says by its `group` whom it trains.
        """
        return {}

    def joined_losses(self) -> dict[str, JoinedLoss]:
        """Names the losses whose gradients join those of a parameter group, with weights that both decide."""
        return {}

    def all_parameter_groups(
        self, optimizer: keras.optimizers.Optimizer | None, gradient_clip_norm: float | None = None
    ) -> dict[str | None, ParameterGroup]:
        """Adds the model's own group: None -> all other trainable variables.

        Args:
          optimizer: the Keras optimizer of the own group.
          gradient_clip_norm: the largest global norm of the own group's gradient, or None.
        """
        groups = self.parameter_groups()
        for name, group in groups.items():
            validation.non_negative_integer(f"first_step of the parameter group {name!r}", group.first_step)
            validation.positive_integer(f"every of the parameter group {name!r}", group.every)
        apart = {id(variable) for group in groups.values() for variable in group.variables}
        own = [variable for variable in self.trainable_variables if id(variable) not in apart]
        return {None: ParameterGroup(own, optimizer, gradient_clip_norm), **groups}

    def train_step(self, data):
        """One step of `fit`, on one device; distributed runs use `vaeflow.Trainer`."""
        batch = self._batch_of(data)
        if not self.optimizer.built:
            with tf.init_scope():
                # For the other groups' variables too, as Keras does when it loads a saved model.
                self.optimizer.build(self.trainable_variables)
        groups, joined = self.all_parameter_groups(self.optimizer), self.joined_losses()
        check_joined(joined, groups)
        with tf.GradientTape(persistent=len(groups) + len(joined) > 1) as tape:
            losses, results, updates = self._mean_losses(batch, True, groups, joined)
        # All before the first update: it moves what the other gradients are taken at.
        gradients, _, _ = join(gradients_of(tape, losses, groups, joined), groups, joined)
        gradients = [
            clip(each, group.gradient_clip_norm)
            for each, group in zip(gradients, groups.values(), strict=True)
        ]
        changes = [pair for each in updates.values() for pair in each.new_values(each.statistics)]
        step = tf.convert_to_tensor(self.optimizer.iterations)  # Before the first update moves it.
        apply_due(groups, gradients, step, lambda function, arguments: function(*arguments))
        for variable, value in changes:
            variable.assign(value)
        return self._report(results, batch["images"])

    def test_step(self, data):
        """One step of `evaluate`, on one device."""
        batch = self._batch_of(data)
        return self._report(self._mean_losses(batch)[1], batch["images"])

    @property
    def metrics(self):
        """The running means that `fit` and `evaluate` report."""
        return list(self._trackers().values())

    def _batch_of(self, data):
        """Makes a batch of what `fit` got: images or a batch, and labels for a model that reads them."""
        inputs, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        batch = batches.checked_for(
            self, batches.as_batch(inputs, labels if "labels" in self.reads else None)
        )
        self._build_for(batch["images"])
        dtype = "int32" if self.takes == "codes" else self.variable_dtype
        return batch | {"images": tf.cast(batch["images"], dtype)}

    def _build_for(self, images):
        if not self.built:
            with tf.init_scope():
                self.build((None, *images.shape[1:]))

    def _mean_losses(self, batch, training=False, groups=None, joined=()):
        step = self.optimizer.iterations if self.optimizer is not None else 0
        forward = self.forward(batch, step, training)
        terms = self.objective(forward, step)
        check_terms(terms, batch["images"].shape[0], self)
        updates = {}
        if groups is not None:
            check_groups(terms, groups, joined)
            updates = self.updates(forward, step)
        means = {name: tf.reduce_mean(term.value) for name, term in terms.items()}
        losses = losses_by_group(terms, means)
        for block_loss in forward.block_losses:
            losses[None] += tf.cast(block_loss, losses[None].dtype)
        return losses, {"loss": losses[None], **means}, updates

    def _trackers(self):
        # Around Keras' attribute tracking: means of a run are not part of the model.
        if "_mean_trackers" not in self.__dict__:
            object.__setattr__(self, "_mean_trackers", {})
        return self._mean_trackers

    def _report(self, results, images):
        trackers = self._trackers()
        for name, value in results.items():
            if name not in trackers:
                with tf.init_scope():
                    trackers[name] = keras.metrics.Mean(name=name)
            trackers[name].update_state(value, sample_weight=tf.shape(images)[0])
        return {name: trackers[name].result() for name in results}

    def _block(self, role, block, default):
        """Returns the block given for a role, or makes the default one."""
        if block is None:
            return default()
        if not isinstance(block, keras.layers.Layer):
            raise ValueError(
                f"`{type(self).__name__}.{role}` must be a Keras layer, got {block!r}; in a gin file write "
                f"{type(self).__name__}.{role} = @SomeBlock() with parentheses"
            )
        return block


def _refuse_old_forward(kind):
    """Refuses a `forward` that takes images alone, as it did up to vaeflow 0.1."""
    forward = kind.__dict__.get("forward")
    parameters = list(inspect.signature(forward).parameters) if inspect.isfunction(forward) else []
    if len(parameters) > 1 and "step" not in parameters:
        raise ConfigurationError(
            f"{kind.__name__}.forward({', '.join(parameters[1:])}) is of vaeflow 0.1: write "
            'forward(self, batch, step=0, training=False), where batch["images"] are the images; see '
            "docs/models.md"
        )
