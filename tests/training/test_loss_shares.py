"""Terms of an objective: who divides, what shape they have, and how the parts of a batch add up."""

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.replica_steps import BATCH, Coupled, images, make_step
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, Term
from vaeflow.training.loss_shares import share_of_loss
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings


def fake_terms(part):
    """Terms of one part of the batch, whose per-example values are given."""
    return {
        "each": Term(tf.constant(part, tf.float64), 0.1),
        "whole": Term(tf.constant(5.0, tf.float64), tf.constant(3.0, tf.float32)),
        "plain": Term(tf.constant(part, tf.float64)),
    }


@pytest.mark.parametrize("num_parts", [1, 2, 4])
def test_shares_of_all_parts_sum_to_the_loss(num_parts):
    values = np.random.default_rng(0).normal(size=BATCH)
    blocks = np.random.default_rng(1).normal(size=(num_parts, 2))
    shares = [
        share_of_loss(fake_terms(part), [tf.constant(x, tf.float64) for x in losses], BATCH, num_parts)
        for part, losses in zip(values.reshape(num_parts, -1), blocks)
    ]
    block_losses = blocks.sum(axis=1).mean()
    expected = {
        "loss": 0.1 * values.mean() + 3.0 * 5.0 + values.mean() + block_losses,
        "each": values.mean(),
        "each_weight": 0.1,
        "whole": 5.0,
        "whole_weight": 3.0,
        "plain": values.mean(),
        "plain_weight": 1.0,
        "block_losses": block_losses,
    }
    assert sum(float(losses[None]) for losses, _ in shares) == pytest.approx(expected["loss"], rel=1e-14)
    summed = {name: sum(float(share[name]) for _, share in shares) for name in shares[0][1]}
    assert summed == pytest.approx(expected, rel=1e-14)
    # A message about divergence names the first bad term: what is reported keeps its order.
    assert list(summed) == list(expected)


def test_without_block_losses_there_is_no_such_metric():
    _, shares = share_of_loss({"each": Term(tf.ones([BATCH]))}, [], BATCH, 1)
    assert set(shares) == {"loss", "each", "each_weight"}


def test_terms_of_the_whole_batch_are_not_accumulated():
    images = tf.zeros([2, 8, 8, 1])
    model = Coupled(2)
    model.build(images.shape)
    split = InMemorySplit(np.zeros(images.shape, np.uint8))
    whole, in_parts = (
        ReplicaStep(model, None, split, TrainingSettings(batch_size=8, gradient_accumulation_steps=parts))
        for parts in (1, 2)
    )
    assert "spread" in whole.probe({"images": images}).metric_names
    with pytest.raises(ConfigurationError, match="'spread' couples the whole batch"):
        in_parts.probe({"images": images})


@pytest.mark.parametrize("axes", [(), (1,), (0, 1)])
def test_a_term_of_another_shape_is_refused(axes):
    class Faulty(VAE):
        def objective(self, forward, step):
            return {"size": Term(tf.reduce_sum(forward.images[..., 0], self.axes))}

    model = Faulty(2)
    images = tf.zeros([3, 8, 4, 1])
    model.build(images.shape)
    split = InMemorySplit(np.zeros(images.shape, np.uint8))
    step = ReplicaStep(model, None, split, TrainingSettings(batch_size=3))
    model.axes = (1, 2)
    step.loss({"images": images}, 0)
    model.axes = axes
    with pytest.raises(ConfigurationError, match=r"the shape .*; it must be a scalar or have"):
        step.loss({"images": images}, 0)


def test_an_integer_weight():
    losses, _ = share_of_loss({"each": Term(tf.ones([BATCH]), 3)}, [], BATCH, 1)
    assert float(losses[None]) == 3.0


@pytest.mark.long
def test_terms_per_example_that_couple_them_are_not_accumulated():
    step = make_step(gradient_accumulation_steps=2)
    assert step.probe({"images": images()}).coupling is None
    step.model.couples_examples = True
    with pytest.raises(ConfigurationError, match="the objective of VAE couples the whole batch"):
        step.probe({"images": images()})
