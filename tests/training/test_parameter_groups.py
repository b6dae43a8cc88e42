"""Parameter groups: each has its loss, its clipping and its optimizer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.replica_steps import BATCH, images, make_step
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


def test_each_group_has_its_loss_its_clipping_and_its_optimizer():
    step = make_step(Adversarial, gradient_clip_norm=0.5)
    own, critic = step.groups[None].variables, step.groups["critic"].variables
    assert [v.path for v in (*own, *critic)] == [v.path for v in step.model.trainable_variables]
    losses, shares = step.loss(images(), 5)
    parts = {name: float(share) for name, share in shares.items()}
    expected = parts["reconstruction_loss"] + 0.5 * parts["kl"] + 2.0 * parts["fooled"]
    assert float(losses[None]) == parts["loss"] == pytest.approx(expected, rel=1e-12)
    assert float(losses["critic"]) == pytest.approx(3.0 * parts["critic_loss"], rel=1e-12)

    before = [variable.numpy() for variable in (*own, *critic)]
    gradients, metrics, finite = step.gradient(images(), 5)
    step.apply(gradients)
    moves = [variable.numpy() - old for variable, old in zip((*own, *critic), before)]
    assert bool(finite)
    assert float(metrics["gradient_norm"]) > 0.5
    assert float(metrics["critic_gradient_norm"]) > 0.01
    lengths = [np.sqrt(sum(np.sum(m**2) for m in part)) for part in (moves[: len(own)], moves[len(own) :])]
    assert lengths == pytest.approx([0.125 * 0.5, 0.5 * 0.01], rel=1e-10)  # Learning rate times norm.


@pytest.mark.parametrize("place", ["own", "critic"])
def test_a_bad_gradient_of_one_group_stops_all(place):
    step = make_step(Adversarial)
    variable = step.groups[None if place == "own" else "critic"].variables[0]
    variable.assign(np.full(variable.shape, np.nan))
    assert not bool(step.gradient(images(), 5)[2])


def test_a_loss_that_is_not_finite_in_one_group_only_stops_all():
    step = make_step(Adversarial)
    objective = step.model.objective
    bad = Term(tf.fill([BATCH], tf.constant(np.inf, tf.float64)), group="critic")
    step.model.objective = lambda *arguments: objective(*arguments) | {"bad": bad}
    losses, _ = step.loss(images(), 5)
    assert np.isfinite(losses[None])
    assert not np.isfinite(losses["critic"])
    assert not bool(step.gradient(images(), 5)[2])


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
        step.loss(images(), 0)
