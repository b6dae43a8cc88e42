"""The moving average of the weights, against its recursion."""

import pytest

from tests.fixtures import numpy_vae
from tests.fixtures.small_trainers import (
    assert_same,
    make_trainer,
    weights,
)
from vaeflow.layers import DenseEncoder
from vaeflow.models import VAE


@pytest.mark.slow
@pytest.mark.parametrize("compile_mode", ["none", "loop"])
def test_the_moving_average_is_its_recursion(compile_mode):
    trainer = make_trainer(ema_decay=0.3, compile_mode=compile_mode)
    expected = weights(trainer)
    for step in range(1, 9):
        trainer.train_and_report(1)
        # It starts at less than its decay: 2/11, 3/12, 4/13 … at most 0.3.
        decay = min(0.3, (1 + step) / (10 + step))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights(trainer))]
    kept = weights(trainer)
    with trainer.averaged_weights():
        assert_same(weights(trainer), expected)
    assert_same(weights(trainer), kept, 0)


def test_without_a_moving_average_the_weights_stay():
    trainer = make_trainer()
    kept = weights(trainer)
    with trainer.averaged_weights():
        assert_same(weights(trainer), kept, 0)


@pytest.mark.slow
def test_weights_come_back_when_the_use_of_their_average_fails():
    trainer = make_trainer(ema_decay=0.9)
    trainer.train_and_report(4)
    kept = weights(trainer)
    with pytest.raises(KeyError), trainer.averaged_weights():
        raise KeyError
    assert_same(weights(trainer), kept, 0)


class WithReference(DenseEncoder):
    """Has a variable that is not trained and belongs to the weights."""

    def build(self, input_shape):
        super().build(input_shape)
        self.reference = self.add_weight(shape=(), initializer="zeros", trainable=False, name="reference")
        self.averaged_with = [self.reference]


@pytest.mark.slow
def test_the_average_takes_along_what_a_block_says_belongs_to_the_weights():
    def make_model():
        return VAE(num_latents=3, **numpy_vae.blocks() | {"encoder": WithReference((6,))})

    trainer = make_trainer(ema_decay=0.3, make_model=make_model)
    reference, expected = trainer.model.encoder.reference, 0.0
    for step in range(1, 4):
        reference.assign(step)
        trainer.train_and_report(1)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with trainer.averaged_weights():
        assert reference.numpy() == pytest.approx(expected, rel=1e-12)
    assert reference.numpy() == 3
