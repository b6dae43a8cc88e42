"""Each variant's own term moves as its paper says when its weight grows, on rendered sprites."""

import functools

import keras
import pytest
import tensorflow as tf

from vaeflow.datasets import InMemorySplit, RenderedSprites
from vaeflow.layers import DenseDecoder, DenseEncoder
from vaeflow.models import DIPVAE, WAE, AnnealedVAE, BetaTCVAE, BetaVAE, FactorVAE, InfoVAE
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer

pytestmark = pytest.mark.matrix

NUM_STEPS = 200


@functools.cache
def sprites():
    """Ellipses of 16x16 pixels at 256 places, in two sizes and two orientations."""
    dataset = RenderedSprites(
        image_size=16,
        shapes=["ellipse"],
        scales=(4, 5),
        orientations=(10, 11),
        x_positions=(8, 23),
        y_positions=(8, 23),
        num_evaluation=1,
    )
    split = dataset.load("train")
    return split.examples(tf.range(split.num_examples, dtype=tf.int64)).numpy()


def trained(make_model, **arguments):
    """Trains a small net; returns the means of its terms over the last 100 steps."""
    keras.utils.set_random_seed(0)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        blocks = {"encoder": DenseEncoder((64,)), "decoder": DenseDecoder((64,))}
        model, optimizer = make_model(num_latents=4, **blocks, **arguments), keras.optimizers.Adam(0.005)
    split = InMemorySplit(sprites())
    trainer = Trainer(model, optimizer, split, TrainingSettings(batch_size=32, compile_mode="none"), strategy)
    for _ in range(NUM_STEPS // 100):
        metrics = trainer.train_and_report(100)
    return metrics


def test_beta_lowers_the_kl():
    kl = [trained(BetaVAE, beta=beta)["kl"] for beta in (0.5, 8.0)]
    assert kl[1] < 0.5 * kl[0]


def test_the_kl_comes_to_the_capacity():
    for capacity in (2.0, 6.0):
        metrics = trained(AnnealedVAE, max_capacity=capacity, capacity_steps=100)
        assert metrics["kl"] == pytest.approx(capacity, abs=0.3)


def test_beta_lowers_the_total_correlation():
    weak, strong = (
        trained(BetaTCVAE, beta=beta, estimator="mss")["total_correlation"] for beta in (0.0, 6.0)
    )
    assert strong < weak - 1


def factor_vae(**arguments):
    """With a discriminator that is small, and fast enough for so few steps."""
    optimizer = keras.optimizers.Adam(0.003, beta_1=0.5, beta_2=0.9)
    return FactorVAE(discriminator_units=(64, 64), discriminator_optimizer=optimizer, **arguments)


def test_gamma_lowers_the_total_correlation():
    """As the discriminator sees it."""
    weak, strong = (trained(factor_vae, gamma=gamma)["total_correlation"] for gamma in (0.0, 40.0))
    assert strong < 0.3 * weak


@pytest.mark.parametrize("variant", ["i", "ii"])
def test_lambda_lowers_the_covariance(variant):
    weak, strong = (trained(DIPVAE, variant=variant, lambda_od=weight) for weight in (0.01, 50.0))
    assert strong["off_diagonal_covariance"] < 0.4 * weak["off_diagonal_covariance"]
    assert strong["diagonal_covariance"] < 0.4 * weak["diagonal_covariance"]


def test_lambda_lowers_the_mmd_of_the_info_vae():
    weak, strong = (trained(InfoVAE, mmd_scale=scale)["mmd"] for scale in (1.0, 1000.0))
    assert strong < 0.2 * weak


def test_lambda_lowers_the_mmd_of_the_wae():
    arguments = {"deterministic": True, "kernel": "rbf"}
    weak, strong = (trained(WAE, mmd_weight=weight, **arguments)["mmd"] for weight in (0.01, 100.0))
    assert strong < 0.2 * weak
