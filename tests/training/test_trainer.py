"""The loop against hand-written ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae
from vaeflow import random
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.base import Split
from vaeflow.datasets.order import ExampleOrder
from vaeflow.devices import strategies
from vaeflow.errors import ConfigurationError, TrainingDiverged
from vaeflow.layers import BernoulliLikelihood, DenseEncoder, GaussianLikelihood, Layer
from vaeflow.layers.base import build_chain, run_chain
from vaeflow.models import VAE, BetaVAE
from vaeflow.runs.totals import Totals
from vaeflow.schedules import LinearSchedule
from vaeflow.training import trainer as trainer_module
from vaeflow.training.trainer import Trainer

NUM_EXAMPLES = 21
BATCH = 8
SEED = 3


def images():
    return np.random.default_rng(0).integers(0, 256, (NUM_EXAMPLES, 4, 3, 2)).astype(np.uint8)


def sgd():
    return keras.optimizers.SGD(0.05)


def adam():
    return keras.optimizers.Adam(0.01)


def made(optimizer=sgd, split=None, make_model=None, batch_size=BATCH, **settings):
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    strategy = strategies.mirrored()
    with strategy.scope():
        model = make_model() if make_model else VAE(num_latents=3, **numpy_vae.blocks())
        optimizer = optimizer()
    settings = {"steps_per_loop": 4, "compile_mode": "none"} | settings
    split = InMemorySplit(images()) if split is None else split
    return Trainer(model, optimizer, split, "none", strategy, batch_size, seed=SEED, **settings)


def weights(trainer):
    return [variable.numpy() for variable in trainer.model.weights]


def assert_same(one, other, tolerance=1e-12):
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def after(num_steps, **settings):
    """The weights after some steps, in loops of at most 4."""
    trainer = made(**settings)
    while trainer.step < num_steps:
        trainer.run(min(4, num_steps - trainer.step))
    return weights(trainer)


def hand_written_losses(variables, pixels, step, first_position=0):
    """−log p(x|z) and KL per example, in TensorFlow, from the formulas of arXiv:1312.6114."""
    flat = tf.reshape(tf.constant(pixels, tf.float64), (len(pixels), -1))
    with random.keyed(SEED, "train", step, first_position):
        epsilon = random.normal((len(pixels), 3), "float64")
    w = variables
    features = tf.nn.relu(flat @ w[0] + w[1])
    mean, log_variance = features @ w[2] + w[3], features @ w[4] + w[5]
    latents = mean + tf.exp(0.5 * log_variance) * epsilon
    logits = tf.nn.relu(latents @ w[6] + w[7]) @ w[8] + w[9]
    reconstruction = tf.reduce_sum(tf.math.softplus(logits) - flat * logits, axis=1)
    kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_variance) - log_variance - 1, axis=1)
    return reconstruction, kl


def hand_written_run(start, num_steps, kl_weight=lambda step: 1.0, pixels=None, skip=()):
    """Plain gradient descent, eagerly. Returns the weights and the losses of each step."""
    variables = [tf.Variable(value) for value in start]
    pixels = images() / 255.0 if pixels is None else pixels
    order = ExampleOrder(NUM_EXAMPLES, BATCH, SEED)
    losses = []
    for step in range(num_steps):
        if step in skip:
            continue
        with tf.GradientTape() as tape:
            reconstruction, kl = hand_written_losses(variables, pixels[order.batch(step)], step)
            loss = tf.reduce_mean(reconstruction + kl_weight(step) * kl)
        losses.append([float(loss), float(tf.reduce_mean(reconstruction)), float(tf.reduce_mean(kl))])
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(0.05 * gradient)
    return [variable.numpy() for variable in variables], np.array(losses)


def twin_weights(trainer):
    return [value.numpy() for value in numpy_vae.weights(trainer.model)]


@pytest.mark.parametrize("compile_mode", ["none", "loop"])
def test_plain_gradient_descent_equals_a_hand_written_loop(compile_mode):
    """Over 11 steps, which straddle epochs, in loops of 4, 4 and 3."""
    trainer = made(compile_mode=compile_mode)
    start = twin_weights(trainer)
    reported = [trainer.run(count) for count in (4, 4, 3)]
    expected, losses = hand_written_run(start, 11)
    assert_same(twin_weights(trainer), expected, 1e-10)
    means = [losses[:4].mean(axis=0), losses[4:8].mean(axis=0), losses[8:].mean(axis=0)]
    for metrics, (loss, reconstruction, kl) in zip(reported, means):
        assert metrics["loss"] == pytest.approx(loss, rel=1e-10)
        assert metrics["reconstruction_loss"] == pytest.approx(reconstruction, rel=1e-10)
        assert metrics["kl"] == pytest.approx(kl, rel=1e-10)
        assert metrics["gradient_norm"] > 0
        assert metrics["input_seconds"] >= 0
    assert trainer.step == 11


def test_schedules_read_the_global_step():
    schedule = LinearSchedule(0.0, 1.0, 8)
    trainer = made(make_model=lambda: BetaVAE(2.0, num_latents=3, kl_weight=schedule, **numpy_vae.blocks()))
    start = twin_weights(trainer)
    reported = [trainer.run(4)["kl_weight"] for _ in range(3)]
    expected, _ = hand_written_run(start, 12, kl_weight=lambda step: 2.0 * min(step / 8, 1.0))
    assert_same(twin_weights(trainer), expected, 1e-10)
    np.testing.assert_allclose(reported, [2 * 1.5 / 8, 2 * 5.5 / 8, 2.0], rtol=1e-10)


def test_learning_rate_schedules_read_the_steps_taken():
    trainer = made(lambda: keras.optimizers.SGD(LinearSchedule(0.05, 0.0, 4)))
    trainer.run(4)
    trainer.run(2)
    still = weights(trainer)
    trainer.run(1)
    assert_same(weights(trainer), still, 0)


class Stream(Split):
    """The same images, not held as an array."""

    def examples(self, indices):
        return tf.gather(tf.constant(images()), indices)


def test_streamed_and_resident_data_give_the_same_weights():
    resident = after(9, resident_data=True)
    assert_same(after(9, resident_data=False), resident)
    stream = Stream(NUM_EXAMPLES, (4, 3, 2), "uint8")
    assert_same(after(9, split=stream), resident)


def test_how_the_steps_are_cut_into_loops_does_not_matter():
    whole = after(8)
    trainer = made()
    for count in (1, 3, 2, 2):
        trainer.run(count)
    assert_same(weights(trainer), whole, 0)


def in_float32():
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    return VAE(num_latents=3, **numpy_vae.blocks())


@pytest.mark.parametrize(
    ("compile_mode", "resident_data"), [("none", True), ("step", True), ("loop", True), ("none", False)]
)
def test_means_have_the_same_bits_however_a_loop_is_cut(compile_mode, resident_data):
    """And no part compiles again. Averaging the parts' means, or adding up their sums, rounds otherwise."""
    settings = {"make_model": in_float32, "steps_per_loop": 9, "resident_data": resident_data}
    whole, cut = (made(compile_mode=compile_mode, **settings) for _ in range(2))
    for *parts, last in ((1, 1, 2, 5), (8, 1), (3, 3, 3)):
        for part in parts:
            cut.advance(part)
        one, other = whole.run(9), cut.run(last)
        assert one.keys() == other.keys() >= {"loss", "kl", "gradient_norm"}
        assert {name for name in one if one[name] != other[name]} <= {"input_seconds"}
    assert cut._loop._loop.experimental_get_tracing_count() == 1


def test_time_is_added_up_over_the_parts_of_a_loop():
    trainer = made(resident_data=False)
    seconds = trainer.advance(1) + trainer.advance(2)
    waited = trainer.totals.input_seconds
    assert trainer.totals.seconds == pytest.approx(seconds)
    assert trainer.totals.num_steps == 3
    trainer.advance(1)
    assert seconds > waited > 0
    assert trainer.totals.input_seconds > waited
    assert trainer.take_totals().num_steps == 4
    assert trainer.totals == Totals()


def test_totals_are_carried_over_where_the_same_is_measured():
    one, other = made(), made()
    one.advance(3)
    other.resume_at(3, one.totals)
    assert other.totals == one.totals
    other.resume_at(3, Totals(3, 1.0, 0.0, {"loss": 1.0}))
    assert other.totals == Totals()


def test_a_trainer_resumes_at_a_step():
    whole = made()
    whole.run(4)
    kept = weights(whole)
    whole.run(4)
    for resident in (True, False):
        resumed = made(resident_data=resident)
        for variable, value in zip(resumed.model.weights, kept):
            variable.assign(value)
        resumed.resume_at(4)
        resumed.run(4)
        assert_same(weights(resumed), weights(whole))


def test_a_checkpoint_leaves_the_learning_rate_to_the_configuration(tmp_path):
    slow, fast = made(lambda: keras.optimizers.Adam(1e-5)), made(lambda: keras.optimizers.Adam(1e-2))
    fast.run(4)
    slow.checkpoint().read(fast.checkpoint().write(str(tmp_path / "variables"))).assert_consumed()
    assert_same(weights(slow), weights(fast))
    assert float(slow.optimizer.learning_rate.numpy()) == pytest.approx(1e-5)
    assert int(slow.optimizer.iterations.numpy()) == 4


def test_gradient_accumulation_gives_the_same_weights():
    whole = after(6, optimizer=adam)
    for parts in (2, 4):
        assert_same(after(6, optimizer=adam, gradient_accumulation_steps=parts), whole)


def test_clipping_shortens_the_step_to_the_norm():
    start = weights(made())
    trainer = made(gradient_clip_norm=0.5)
    norm = trainer.run(1)["gradient_norm"]
    assert norm > 0.5
    moved = [new - old for new, old in zip(weights(trainer), start)]
    assert np.sqrt(sum(np.sum(delta**2) for delta in moved)) == pytest.approx(0.05 * 0.5, rel=1e-10)


@pytest.mark.parametrize("compile_mode", ["none", "loop"])
def test_the_moving_average_is_its_recursion(compile_mode):
    trainer = made(ema_decay=0.3, compile_mode=compile_mode)
    expected = weights(trainer)
    for step in range(1, 9):
        trainer.run(1)
        # It starts at less than its decay: 2/11, 3/12, 4/13 … at most 0.3.
        decay = min(0.3, (1 + step) / (10 + step))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights(trainer))]
    kept = weights(trainer)
    with trainer.averaged_weights():
        assert_same(weights(trainer), expected)
    assert_same(weights(trainer), kept, 0)


def test_without_a_moving_average_the_weights_stay():
    trainer = made()
    kept = weights(trainer)
    with trainer.averaged_weights():
        assert_same(weights(trainer), kept, 0)


def test_weights_come_back_when_the_use_of_their_average_fails():
    trainer = made(ema_decay=0.9)
    trainer.run(4)
    kept = weights(trainer)
    with pytest.raises(KeyError), trainer.averaged_weights():
        raise KeyError
    assert_same(weights(trainer), kept, 0)


def split_with_a_bad_image(step):
    """Float images, one of which is bad and, of the first four steps, is seen at `step` only."""
    order = ExampleOrder(NUM_EXAMPLES, BATCH, SEED)
    seen = {index for other in range(4) if other != step for index in order.batch(other)}
    bad = next(index for index in order.batch(step) if index not in seen)
    pixels = (images() / 255.0).astype(np.float32)
    pixels[bad, 1, 1, 0] = np.nan
    return InMemorySplit(pixels)


@pytest.fixture(scope="module")
def good():
    """After the two steps before the bad one: the weights, and their average."""
    trainer = made(adam, split=split_with_a_bad_image(step=2), ema_decay=0.5)
    trainer.run(2)
    kept = weights(trainer)
    with trainer.averaged_weights():
        return kept, weights(trainer)


@pytest.mark.parametrize("compile_mode", ["none", "step", "loop"])
def test_a_step_that_is_not_finite_changes_nothing(good, compile_mode):
    trainer = made(
        adam,
        split=split_with_a_bad_image(step=2),
        compile_mode=compile_mode,
        ema_decay=0.5,
    )
    trainer.advance(1)  # Whose totals are carried over.
    with pytest.raises(TrainingDiverged, match="at step 2: reconstruction_loss is not finite;"):
        trainer.run(2)
    assert_same(weights(trainer), good[0])
    for variable in (*trainer.model.variables, *trainer.optimizer.variables):
        assert np.all(np.isfinite(variable.numpy())), variable.path
    assert trainer.optimizer.iterations.numpy() == 2
    with trainer.averaged_weights():
        assert_same(weights(trainer), good[1])


def test_good_steps_after_a_bad_one_are_taken_and_the_first_bad_one_is_named():
    split = split_with_a_bad_image(step=1)
    trainer = made(split=split)
    start = twin_weights(trainer)
    with pytest.raises(TrainingDiverged, match="at step 1: "):
        trainer.run(4)
    expected, _ = hand_written_run(start, 4, pixels=split.array, skip={1})
    assert_same(twin_weights(trainer), expected, 1e-10)


def test_a_loss_that_overflows_is_named():
    """The KL is what overflows: log variances of 800."""
    trainer = made()
    bias = trainer.model.head.log_variance.bias
    bias.assign(np.full(bias.shape, 800.0))
    with pytest.raises(TrainingDiverged, match=r"at step 0: (kl|reconstruction_loss) is not finite"):
        trainer.run(2)


@pytest.mark.parametrize(
    ("batch_size", "parts", "advice"), [(9, 2, "try 8"), (8, 3, "try 9"), (1, 4, "try 4")]
)
def test_a_batch_that_cannot_be_divided_is_refused(batch_size, parts, advice):
    message = rf"`train.batch_size` .* \(1\) .*_steps` \({parts}\), got {batch_size}; {advice}"
    with pytest.raises(ConfigurationError, match=message):
        made(batch_size=batch_size, gradient_accumulation_steps=parts)


def test_a_batch_may_be_larger_than_the_dataset():
    trainer = made(batch_size=50)
    assert np.isfinite(trainer.run(2)["loss"])


class Penalty(Layer):
    """Adds 1.5 for each example, on average."""

    def build(self, input_shape):
        """Has no variables."""

    def call(self, features):
        self.add_loss(1.5 * tf.reduce_mean(tf.ones_like(features)[:, 0]))
        return features


class PenalizedEncoder(DenseEncoder):
    """A dense encoder with a penalty two levels down."""

    def __init__(self, **kwargs):
        super().__init__((6,), **kwargs)
        self.blocks.append(Penalty())


@pytest.mark.parametrize("parts", [1, 4])
def test_losses_of_blocks_are_counted_once(parts):
    def make_model():
        return VAE(3, PenalizedEncoder(), numpy_vae.blocks()["decoder"])

    trainer = made(make_model=make_model, gradient_accumulation_steps=parts)
    metrics = trainer.run(3)
    assert metrics["block_losses"] == pytest.approx(1.5, rel=1e-12)
    assert metrics["loss"] == pytest.approx(metrics["reconstruction_loss"] + metrics["kl"] + 1.5, rel=1e-12)


class FaultyEncoder(DenseEncoder):
    """Raises when it is called."""

    def call(self, images, training=None):
        raise ArithmeticError("a faulty block")


def test_a_faulty_block_is_found_before_training():
    with pytest.raises(ArithmeticError, match="a faulty block"):
        made(make_model=lambda: VAE(3, FaultyEncoder((4,))))


class NormalizedEncoder(Layer):
    """Keeps moving statistics."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [DenseEncoder((6,)), keras.layers.BatchNormalization(synchronized=True, momentum=0.5)]

    def build(self, input_shape):
        build_chain(self.blocks, input_shape, self.dtype_policy)

    def call(self, images, training=None):
        return run_chain(self.blocks, images, training)


@pytest.mark.parametrize(
    ("layer", "advice"),
    [
        (keras.layers.Dropout(0.5), "draws Keras' noise.*vaeflow.random"),
        (keras.layers.BatchNormalization(), "synchronized=True"),
    ],
)
def test_layers_that_depend_on_the_number_of_replicas_are_refused(layer, advice):
    encoder = keras.Sequential([keras.layers.Flatten(), layer])
    model = VAE(num_latents=2, encoder=encoder)
    model.build((None, 4, 3, 2))
    trainer_module._refuse_dependence_on_replicas(model, 1)
    with pytest.raises(ConfigurationError, match=advice):
        trainer_module._refuse_dependence_on_replicas(model, 2)


def test_layers_that_do_not_are_not():
    blocks = [
        keras.layers.Flatten(),
        keras.layers.BatchNormalization(synchronized=True),
        keras.layers.Dense(3),
    ]
    model = VAE(num_latents=2, encoder=keras.Sequential(blocks))
    model.build((None, 4, 3, 2))
    trainer_module._refuse_dependence_on_replicas(model, 2)


class Counting(VAE):
    """Needs to know the size of the training set."""

    def __init__(self, num_examples=None, **kwargs):
        super().__init__(**kwargs)
        self.num_examples = num_examples


@pytest.mark.parametrize(("given", "expected"), [(None, NUM_EXAMPLES), (5, 5)])
def test_the_size_of_the_training_split_is_filled_in_where_it_is_not_given(given, expected):
    trainer = made(make_model=lambda: Counting(num_examples=given, num_latents=3, **numpy_vae.blocks()))
    assert trainer.model.num_examples == expected


def test_making_a_trainer_takes_no_step():
    trainer = made(make_model=lambda: VAE(3, NormalizedEncoder(), numpy_vae.blocks()["decoder"]))
    normalization = trainer.model.encoder.blocks[1]
    np.testing.assert_array_equal(normalization.moving_mean.numpy(), np.zeros(6))
    np.testing.assert_array_equal(normalization.moving_variance.numpy(), np.ones(6))
    assert trainer.step == 0
    assert trainer.optimizer.iterations.numpy() == 0
    trainer.run(1)
    assert np.any(normalization.moving_mean.numpy())


@pytest.mark.parametrize("compile_mode", ["none", "loop"])
def test_more_steps_than_a_loop_holds_are_refused(compile_mode):
    with pytest.raises(ValueError, match="`num_steps` must be at most 4, got 5"):
        made(compile_mode=compile_mode).run(5)


@pytest.mark.parametrize("likelihood", [BernoulliLikelihood, lambda: GaussianLikelihood(0.5, "scalar")])
def test_mixed_precision_keeps_its_weights_in_float32(likelihood):
    def make_model():
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("mixed_bfloat16")
        return VAE(3, likelihood=likelihood(), **numpy_vae.blocks())

    trainer = made(make_model=make_model)
    first, last = [trainer.run(4)["loss"] for _ in range(6)][::5]
    assert last < first
    assert {variable.dtype for variable in trainer.model.variables} == {"float32"}
    assert trainer.model.encoder.compute_dtype == "bfloat16"
