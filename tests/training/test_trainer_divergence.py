"""Steps that are not finite: they change nothing, and the message names the first one."""

import numpy as np
import pytest

from tests.fixtures.small_trainers import (
    BATCH,
    NUM_EXAMPLES,
    SEED,
    adam,
    assert_same,
    hand_written_run,
    images,
    make_trainer,
    twin_weights,
    weights,
)
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.order import ExampleOrder
from vaeflow.errors import TrainingDiverged


def split_with_a_bad_image(step):
    """Float images, one of which is bad and, of the first four steps, is seen at `step` only."""
    order = ExampleOrder(NUM_EXAMPLES, BATCH, SEED)
    seen = {index for other in range(4) if other != step for index in order.batch(other)}
    bad = next(index for index in order.batch(step) if index not in seen)
    split = InMemorySplit((images() / 255.0).astype(np.float32))
    # Afterwards, since a split refuses such an array.
    split.array[bad, 1, 1, 0] = np.nan
    return split


@pytest.fixture(scope="module")
def good():
    """After the two steps before the bad one: the weights, and their average."""
    trainer = make_trainer(adam, split=split_with_a_bad_image(step=2), ema_decay=0.5)
    trainer.train_and_report(2)
    kept = weights(trainer)
    with trainer.averaged_weights():
        return kept, weights(trainer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "compile_mode", ["none", *(pytest.param(mode, marks=pytest.mark.long) for mode in ("step", "loop"))]
)
def test_a_step_that_is_not_finite_changes_nothing(good, compile_mode):
    trainer = make_trainer(
        adam,
        split=split_with_a_bad_image(step=2),
        compile_mode=compile_mode,
        ema_decay=0.5,
    )
    trainer.train(1)  # Whose totals are carried over.
    with pytest.raises(TrainingDiverged, match="at step 2: reconstruction_loss is not finite;"):
        trainer.train_and_report(2)
    assert_same(weights(trainer), good[0])
    for variable in (*trainer.model.variables, *trainer.optimizer.variables):
        assert np.all(np.isfinite(variable.numpy())), variable.path
    assert trainer.optimizer.iterations.numpy() == 2
    with trainer.averaged_weights():
        assert_same(weights(trainer), good[1])


@pytest.mark.slow
def test_good_steps_after_a_bad_one_are_taken_and_the_first_bad_one_is_named():
    split = split_with_a_bad_image(step=1)
    trainer = make_trainer(split=split)
    start = twin_weights(trainer)
    with pytest.raises(TrainingDiverged, match="at step 1: "):
        trainer.train_and_report(4)
    expected, _ = hand_written_run(start, 4, pixels=split.array, skip={1})
    assert_same(twin_weights(trainer), expected, 1e-10)


@pytest.mark.slow
def test_a_loss_that_overflows_is_named():
    """The KL is what overflows: log variances of 800."""
    trainer = make_trainer()
    bias = trainer.model.posterior.log_variance.bias
    bias.assign(np.full(bias.shape, 800.0))
    with pytest.raises(TrainingDiverged, match=r"at step 0: (kl|reconstruction_loss) is not finite"):
        trainer.train_and_report(2)
