"""The moving average of the weights, against its recursion."""

import pytest

from tests.fixtures.small_trainers import (
    assert_same,
    make_trainer,
    weights,
)


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


def test_weights_come_back_when_the_use_of_their_average_fails():
    trainer = make_trainer(ema_decay=0.9)
    trainer.train_and_report(4)
    kept = weights(trainer)
    with pytest.raises(KeyError), trainer.averaged_weights():
        raise KeyError
    assert_same(weights(trainer), kept, 0)
