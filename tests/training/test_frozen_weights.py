"""Weights that `train.frozen` names: nothing changes them, and nothing is kept for them."""

import keras
import numpy as np
import pytest

from tests.fixtures import small_codes, tiny_runs, trained_runs
from tests.test_trained import restored
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import DenseDecoder
from vaeflow.layers.base import Chain
from vaeflow.models import VAE, VQGAN, VQVAE, frozen_blocks
from vaeflow.models.weight_names import named_weights
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer


def trainer_of(model, shape=tiny_runs.SHAPE, **settings):
    settings = {"batch_size": 4, "steps_per_loop": 2, "compile_mode": "none"} | settings
    images = np.random.RandomState(0).randint(0, 256, (8, *shape)).astype(np.uint8)
    return Trainer(model, keras.optimizers.Adam(0.1), InMemorySplit(images), TrainingSettings(**settings))


def normalizing():
    """A model whose encoder normalizes over the batch."""
    encoder = Chain([keras.layers.Flatten(), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    return VAE(2, encoder, DenseDecoder(units=(4,)))


def moved(trainer, steps=2):
    """Trains; returns the names of the weights that changed."""
    before = {name: variable.numpy() for name, variable in named_weights(trainer.model).items()}
    with tiny_runs.untraced():
        trainer.train(steps)
    after = {name: variable.numpy() for name, variable in named_weights(trainer.model).items()}
    return {name for name, value in after.items() if np.any(value != before[name])}


def test_a_frozen_block_keeps_its_weights_and_its_moving_statistics():
    trainer = trainer_of(normalizing(), frozen="encoder", ema_decay=0.9)
    names = list(named_weights(trainer.model))
    assert moved(trainer) == {name for name in names if not name.startswith("encoder/")}
    assert "encoder/blocks/2/moving_mean" in names
    # Two moments for each weight that is trained, the number of iterations and the learning rate.
    trained = trainer.model.trainable_variables
    assert len(trainer.optimizer.variables) == 2 * len(trained) + 2
    assert len(trainer.checkpoint().averages) == len(trained) == 8


def test_a_single_weight_can_be_frozen_in_a_layer_that_learns():
    trainer = trainer_of(normalizing(), frozen=("encoder/blocks/1/bias",))
    assert set(named_weights(trainer.model)) - moved(trainer) == {"encoder/blocks/1/bias"}


@pytest.mark.long
@pytest.mark.slow
def test_no_update_changes_a_frozen_codebook():
    quantizers = {"posterior": small_codes.QUANTIZERS["averages"]()}

    def trainer(**settings):
        return trainer_of(VQVAE(3, **small_codes.blocks() | quantizers), (8, 8, 1), **settings)

    changed = moved(trainer(), steps=1)
    assert {name for name in changed if name.startswith("posterior/codebooks/0/")}
    quantizers["posterior"] = small_codes.QUANTIZERS["averages"]()
    changed = moved(trainer(frozen="posterior/codebooks"), steps=1)
    assert not {name for name in changed if name.startswith("posterior/codebooks/")}
    assert {name for name in changed if name.startswith("encoder/")}


def test_the_number_of_frozen_weights_is_said():
    trainer = trainer_of(normalizing(), frozen="encoder")
    assert frozen_blocks.num_weights(trainer.model, " weights").endswith(
        f" weights ({64 * 3 + 3 + 4 * 3} of them frozen)"
    )


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (("encoders",), r"`train.frozen` has the pattern 'encoders', .*those here are encoder/\*"),
        (("*",), "`train.frozen` leaves no weight of the model to train"),
    ],
)
def test_what_matches_nothing_or_everything_is_refused(frozen, message):
    with pytest.raises(ConfigurationError, match=message):
        trainer_of(normalizing(), frozen=frozen)


def test_a_weight_with_a_loss_of_its_own_is_refused():
    model = VQGAN(3, **small_codes.adversarial_blocks())
    with pytest.raises(ConfigurationError, match="of the parameter group 'discriminator'"):
        trainer_of(model, (8, 8, 1), frozen="adversary")


@pytest.mark.long
@pytest.mark.slow
def test_a_trained_model_with_frozen_weights_is_restored_with_its_averages(tmp_path):
    parameters = ("train.ema_decay = 0.9", "train.frozen = 'encoder'")
    run = restored(trained_runs.trained_folder(tmp_path, *parameters), "last")
    named = named_weights(run.model)
    assert not named["encoder/blocks/1/kernel"].trainable
    assert named["decoder/output_layer/kernel"].trainable
