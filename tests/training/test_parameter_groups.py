"""Parameter groups: each has its loss, its clipping and its optimizer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from tests.fixtures.replica_steps import BATCH, images, make_step, stored
from tests.fixtures.small_trainers import make_trainer
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, Term
from vaeflow.optimizers import ParameterGroup


class Adversarial(VAE):
    """A VAE with a critic of its latents, which is trained to another end by its own optimizer."""

    critic_group = "critic"

    def build(self, input_shape):
        super().build(input_shape)
        self.critic = keras.layers.Dense(1, dtype=self.dtype_policy)
        self.critic.build((None, self.num_latents))
        self.critic_optimizer = keras.optimizers.SGD(0.5)

    def parameter_groups(self):
        return {"critic": ParameterGroup(self.critic.trainable_variables, self.critic_optimizer, 0.01)}

    def objective(self, forward, step):
        scores = self.critic(forward.latents)[:, 0]
        return super().objective(forward, step) | {
            "fooled": Term(scores, 2.0),
            "critic_loss": Term(tf.square(scores - 1.0), 3.0, group=self.critic_group),
        }


@pytest.mark.slow
def test_each_group_has_its_loss_its_clipping_and_its_optimizer():
    step = make_step(Adversarial, gradient_clip_norm=0.5)
    own, critic = step.groups[None].variables, step.groups["critic"].variables
    assert [v.path for v in (*own, *critic)] == [v.path for v in step.model.trainable_variables]
    losses, shares = step.loss({"images": images()}, 5)
    parts = {name: float(share) for name, share in shares.items()}
    expected = parts["reconstruction_loss"] + 0.5 * parts["kl"] + 2.0 * parts["fooled"]
    assert float(losses[None]) == parts["loss"] == pytest.approx(expected, rel=1e-12)
    assert float(losses["critic"]) == pytest.approx(3.0 * parts["critic_loss"], rel=1e-12)

    before = [variable.numpy() for variable in (*own, *critic)]
    result = step.compute(stored(images()), 5)
    metrics = result.metrics
    step.apply(tf.distribute.get_strategy(), result, 5)
    moves = [variable.numpy() - old for variable, old in zip((*own, *critic), before)]
    assert bool(result.finite)
    assert float(metrics["gradient_norm"]) > 0.5
    assert float(metrics["critic_gradient_norm"]) > 0.01
    lengths = [np.sqrt(sum(np.sum(m**2) for m in part)) for part in (moves[: len(own)], moves[len(own) :])]
    assert lengths == pytest.approx([0.125 * 0.5, 0.5 * 0.01], rel=1e-10)  # Learning rate times norm.


@pytest.mark.parametrize("place", ["own", "critic"])
def test_a_bad_gradient_of_one_group_stops_all(place):
    step = make_step(Adversarial)
    variable = step.groups[None if place == "own" else "critic"].variables[0]
    variable.assign(np.full(variable.shape, np.nan))
    assert not bool(step.compute(stored(images()), 5).finite)


def test_a_loss_that_is_not_finite_in_one_group_only_stops_all():
    step = make_step(Adversarial)
    objective = step.model.objective
    bad = Term(tf.fill([BATCH], tf.constant(np.inf, tf.float64)), group="critic")
    step.model.objective = lambda *arguments: objective(*arguments) | {"bad": bad}
    losses, _ = step.loss({"images": images()}, 5)
    assert np.isfinite(losses[None])
    assert not np.isfinite(losses["critic"])
    assert not bool(step.compute(stored(images()), 5).finite)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("judge", "term 'critic_loss' is of the parameter group 'judge', which is none of None, 'critic'"),
        (None, "no term of the objective trains the parameter group 'critic'"),
    ],
)
def test_terms_and_groups_must_name_each_other(group, message):
    step = make_step(Adversarial)
    step.model.critic_group = group
    with pytest.raises(ConfigurationError, match=message):
        step.loss({"images": images()}, 0)


class Shared(Adversarial):
    """Its critic has a gradient of its own, and the run's optimizer."""

    def parameter_groups(self):
        return {"critic": ParameterGroup(self.critic.trainable_variables, gradient_clip_norm=0.01)}


def test_a_group_without_an_optimizer_is_updated_by_the_run_s_own():
    step = make_step(Shared)
    before = [variable.numpy() for variable in step.groups["critic"].variables]
    result = step.compute(stored(images()), 5)
    step.apply(tf.distribute.get_strategy(), result, 5)
    moves = [
        variable.numpy() - old for variable, old in zip(step.groups["critic"].variables, before, strict=True)
    ]
    length = np.sqrt(sum(np.sum(move**2) for move in moves))
    assert length == pytest.approx(0.125 * 0.01, rel=1e-10)  # The run's learning rate times the norm.
    assert int(step.groups[None].optimizer.iterations) == 1


@pytest.mark.long
@pytest.mark.parametrize("own_optimizer", [True, False])
@pytest.mark.parametrize("compile_mode", ["none", "loop"])
def test_a_group_is_updated_from_its_first_step_on_and_in_its_rhythm(own_optimizer, compile_mode):
    class Rhythmic(Adversarial):
        def parameter_groups(self):
            optimizer = self.critic_optimizer if own_optimizer else None
            variables = self.critic.trainable_variables
            return {"critic": ParameterGroup(variables, optimizer, first_step=2, every=3)}

    trainer = make_trainer(
        make_model=lambda: Rhythmic(num_latents=3, **numpy_vae.blocks()), compile_mode=compile_mode
    )
    moved, values = [], [trainer.model.critic.kernel.numpy()]
    for step in range(7):
        trainer.train(1)
        values.append(trainer.model.critic.kernel.numpy())
        if np.any(values[-1] != values[-2]):
            moved.append(step)
    assert moved == [2, 5]
    if own_optimizer:
        assert trainer.model.critic_optimizer.iterations.numpy() == 2
    assert trainer.optimizer.iterations.numpy() == 7


@pytest.mark.long
def test_fit_keeps_the_rhythm_too():
    class Late(Adversarial):
        def parameter_groups(self):
            return {
                "critic": ParameterGroup(self.critic.trainable_variables, self.critic_optimizer, first_step=1)
            }

    step = make_step(Late)
    step.model.compile(optimizer="sgd")
    step.model.fit(images().numpy() / 255.0, batch_size=BATCH, epochs=3, verbose=0)
    assert int(step.model.critic_optimizer.iterations) == 2


@pytest.mark.parametrize(
    ("settings", "message"), [({"every": 0}, "every"), ({"first_step": -1}, "first_step")]
)
def test_a_rhythm_without_meaning_is_refused(settings, message):
    step = make_step(Adversarial)
    variables = step.model.critic.trainable_variables
    step.model.parameter_groups = lambda: {"critic": ParameterGroup(variables, **settings)}
    with pytest.raises(ValueError, match=message):
        step.model.all_parameter_groups(None)
