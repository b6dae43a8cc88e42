"""IWAE: its bound against NumPy, and the mean and the variance of its three gradients."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae, tiny_runs, trained_runs
from tests.fixtures.replica_steps import stored
from tests.fixtures.small_objectives import BATCH_SIZE, NUM_LATENTS, images, make_model, terms_of
from vaeflow import random, testing
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, evaluate, export, record, sample
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import (
    DenseDecoder,
    DenseEncoder,
    DeterministicPosterior,
    FlowPrior,
    GaussianLikelihood,
    IAFPosterior,
    VampPrior,
)
from vaeflow.models import IWAE, batches
from vaeflow.models.iwae import ESTIMATORS
from vaeflow.schedules import LinearSchedule
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

BOUND = "negative_iwae_bound"
K = 4


def noise(num_samples=K, num_examples=BATCH_SIZE, first_position=0, **key):
    """Of each example and sample, as `random.samples` numbers them."""
    shape = (num_examples * num_samples, NUM_LATENTS)
    return numpy_vae.noise(7, shape, first_position * num_samples, **key)


def log_density(value, mean, log_variance):
    squared = (value - mean) ** 2 * np.exp(-log_variance)
    return -0.5 * np.sum(squared + log_variance + np.log(2 * np.pi), axis=-1)


def log_weights(model, examples, epsilon, num_samples=K):
    """log p(x|z) + log p(z) − log q(z|x), `[b, K]`, in NumPy."""
    rows = np.repeat(examples, num_samples, axis=0)
    mean, log_variance, latents, outputs = numpy_vae.forward(model, rows, epsilon)
    prior = log_density(latents, 0.0, np.zeros_like(latents))
    weights = prior - log_density(latents, mean, log_variance) - numpy_vae.bernoulli_loss(outputs, rows)
    return weights.reshape(-1, num_samples)


def log_mean_exp(log_weights):
    return np.log(np.mean(np.exp(log_weights - log_weights.max(1, keepdims=True)), 1)) + log_weights.max(1)


def normalized(log_weights):
    weights = np.exp(log_weights - log_weights.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def gradients_at_evidence(model, examples, first_position=0):
    """The gradients of each example's bound for its mean and its log variance, `[b, D]` each."""
    batch = {"images": tf.constant(examples)}
    with random.keyed(0, "train", 7, first_position), tf.GradientTape() as tape:
        evidence = model.infer(batch, training=True)
        rows = batches.repeated((batch, evidence), model.num_samples)
        forward = model.forward_rows(*rows, 7, True, model.num_samples)
        bound = tf.reduce_sum(model.objective(forward, 7)[BOUND].value)
    return [-gradient.numpy() for gradient in tape.gradient(bound, evidence)]


def gradients(model, examples):
    """Of the loss for each trainable variable, in their order."""
    with tf.GradientTape() as tape:
        terms = terms_of(model, examples)
        loss = sum(term.weight_as("float64") * tf.reduce_mean(term.value) for term in terms.values())
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return [value.numpy() for value in found]


def split_gradients(model, examples):
    """Those of encoder and posterior, and those of all else."""
    of_q = {id(variable) for block in (model.encoder, model.posterior) for variable in block.variables}
    found = list(zip(model.trainable_variables, gradients(model, examples)))
    return tuple(
        [value for variable, value in found if (id(variable) in of_q) is side] for side in (True, False)
    )


PRIORS = {
    "standard normal": lambda: None,
    "flow": lambda: FlowPrior(2, (5,), dtype="float64"),
    "vamp": lambda: VampPrior(4, dtype="float64"),
}


def with_prior(name, estimator):
    keras.utils.set_random_seed(0)
    return make_model(IWAE, num_samples=K, estimator=estimator, prior=PRIORS[name]())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_bound_is_the_log_mean_weight(estimator):
    model = make_model(IWAE, num_samples=K, estimator=estimator)
    expected = -log_mean_exp(log_weights(model, images(), noise()))
    np.testing.assert_allclose(terms_of(model, images())[BOUND].value, expected, rtol=1e-10)


def test_reconstruction_and_kl_are_logged_as_means_over_the_samples():
    model = make_model(IWAE, num_samples=K)
    terms = terms_of(model, images())
    rows = np.repeat(images(), K, axis=0)
    mean, log_variance, _, outputs = numpy_vae.forward(model, rows, noise())
    loss = numpy_vae.bernoulli_loss(outputs, rows).reshape(-1, K).mean(axis=1)
    np.testing.assert_allclose(terms["reconstruction_loss"].value, loss, rtol=1e-10)
    np.testing.assert_allclose(terms["kl"].value, numpy_vae.kl(mean, log_variance)[::K], rtol=1e-10)
    assert [term.weight for term in terms.values()] == [1.0, 0.0, 0.0]


def test_one_sample_gives_the_elbo():
    """In the mean over 4,000 draws, within five standard errors, and tighter with more samples."""
    count = 4000
    many = np.repeat(images(1), count, axis=0)
    model = make_model(IWAE, num_samples=1)
    one = -terms_of(model, many)[BOUND].value.numpy()
    mean, log_variance, _, outputs = numpy_vae.forward(model, many, noise(1, count))
    elbos = -numpy_vae.bernoulli_loss(outputs, many) - numpy_vae.kl(mean, log_variance)
    difference = one - elbos
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(count)
    bounds = [one]
    for num_samples in (5, 25):
        model.num_samples = num_samples
        bounds.append(-terms_of(model, many)[BOUND].value.numpy())
    for looser, tighter in itertools.pairwise(bounds):
        error = np.sqrt((looser.var() + tighter.var()) / count)
        assert tighter.mean() - looser.mean() > 5 * error


def test_the_standard_gradient_is_that_of_the_bound_by_finite_differences():
    model = make_model(IWAE, num_samples=K)
    found = gradients(model, images())
    generator = np.random.default_rng(0)
    for variable, gradient in zip(model.trainable_variables, found):
        direction, values = generator.normal(size=variable.shape), []
        for step in (1e-5, -1e-5):
            variable.assign_add(step * direction)
            values.append(-log_mean_exp(log_weights(model, images(), noise())).mean())
            variable.assign_sub(step * direction)
        expected = (values[0] - values[1]) / 2e-5
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def gradient_through_latents(model, examples, power):
    """Σ_k w̃_k^power ∂ log w_k / ∂z_k · ∂z_k for mean and log variance, by finite differences at z."""
    epsilon = noise(num_examples=len(examples))
    rows = np.repeat(examples, K, axis=0)
    mean, log_variance, latents, _ = numpy_vae.forward(model, rows, epsilon)

    def log_weight(z):
        loss = numpy_vae.bernoulli_loss(model.decode(tf.constant(z)).logits.numpy(), rows)
        return log_density(z, 0.0, np.zeros_like(z)) - log_density(z, mean, log_variance) - loss

    slopes = np.zeros_like(latents)
    for unit, step in enumerate(1e-5 * np.eye(NUM_LATENTS)):
        slopes[:, unit] = (log_weight(latents + step) - log_weight(latents - step)) / 2e-5
    weights = normalized(log_weights(model, examples, epsilon)).reshape(-1, 1) ** power
    of_log_variance = 0.5 * np.exp(0.5 * log_variance) * epsilon
    return [
        (weights * slopes * path).reshape(-1, K, NUM_LATENTS).sum(axis=1) for path in (1.0, of_log_variance)
    ]


@pytest.mark.parametrize(("estimator", "power"), [("dreg", 2), ("stl", 1)])
def test_the_gradient_of_q_goes_through_the_latents_alone(estimator, power):
    model = make_model(IWAE, num_samples=K, estimator=estimator)
    found = gradients_at_evidence(model, images())
    for one, expected in zip(found, gradient_through_latents(model, images(), power)):
        np.testing.assert_allclose(one, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("estimator", "prior"), [("stl", "standard normal"), ("dreg", "flow"), ("dreg", "vamp")]
)
def test_the_gradients_of_decoder_and_prior_are_the_standard_ones(estimator, prior):
    plain, other = (split_gradients(with_prior(prior, each), images()) for each in ("standard", estimator))
    for one, expected in zip(other[1], plain[1]):
        np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-12)
    assert not any(np.allclose(one, expected, rtol=1e-3) for one, expected in zip(other[0], plain[0]))


def test_what_a_prior_takes_from_the_encoder_keeps_the_standard_gradient():
    """Where z has no part: q's own paths are cut, and VampPrior still reaches the encoder."""
    found = []
    for estimator in ("standard", "dreg"):
        model = with_prior("vamp", estimator)
        batch = {"images": tf.constant(images())}
        evidence = [tf.stop_gradient(value) for value in model.infer(batch)]
        with random.keyed(0, "train", 7), tf.GradientTape() as tape:
            rows = batches.repeated((batch, evidence), K)
            bound = tf.reduce_mean(model.objective(model.forward_rows(*rows, 7, True, K), 7)[BOUND].value)
        found.append(tape.gradient(bound, model.encoder.blocks[1].kernel.value).numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    assert np.abs(found[0]).max() > 1e-3


def test_dreg_has_the_mean_of_the_standard_gradient_and_less_variance():
    """From 4,000 draws of 8 samples: the means differ by less than five standard errors."""
    count = 4_000
    many = np.repeat(images(1), count, axis=0)
    draws = {}
    for estimator in ("standard", "dreg"):
        model = make_model(IWAE, num_samples=8, estimator=estimator)
        # Other noise for each, so that the errors are independent.
        first_position = 0 if estimator == "dreg" else count
        draws[estimator] = np.concatenate(gradients_at_evidence(model, many, first_position), axis=1)
    means, variances = (
        {name: how(values, axis=0) for name, values in draws.items()} for how in (np.mean, np.var)
    )
    error = np.sqrt((variances["standard"] + variances["dreg"]) / count)
    assert np.all(np.abs(means["dreg"] - means["standard"]) < 5 * error)
    # The mean is not lost in that error.
    assert np.max(np.abs(means["standard"]) / error) > 20
    assert variances["dreg"].sum() < 0.7 * variances["standard"].sum()


def exact_model(estimator):
    """x = W z + b + noise with orthogonal columns of W, and q(z|x) = p(z|x)."""
    scale, deviation = 0.7, 0.5
    model = IWAE(
        num_latents=2,
        num_samples=K,
        estimator=estimator,
        encoder=DenseEncoder((), dtype="float64"),
        decoder=DenseDecoder((), dtype="float64"),
        likelihood=GaussianLikelihood(deviation),
        dtype="float64",
    )
    model.build((None, 4, 3, 2))
    generator = np.random.default_rng(0)
    kernel = scale * np.linalg.qr(generator.normal(size=(24, 2)))[0].T
    bias = generator.normal(size=24)
    model.decoder.output_layer.kernel.assign(kernel)
    model.decoder.output_layer.bias.assign(bias)
    variance = 1 / (1 + scale**2 / deviation**2)
    model.posterior.mean.kernel.assign(variance / deviation**2 * kernel.T)
    model.posterior.mean.bias.assign(-variance / deviation**2 * kernel @ bias)
    model.posterior.log_variance.kernel.assign(np.zeros((24, 2)))
    model.posterior.log_variance.bias.assign(np.log([variance] * 2))
    return model


def test_stl_lands_on_the_exact_posterior_without_noise():
    models = {estimator: exact_model(estimator) for estimator in ("standard", "stl")}
    weights = models["stl"].forward(images(), num_samples=K).log_weight.numpy()
    np.testing.assert_allclose(weights, weights[:, :1] * np.ones(K), rtol=1e-10)  # All are p(x).
    largest = {
        estimator: max(np.abs(value).max() for value in split_gradients(model, images())[0])
        for estimator, model in models.items()
    }
    assert largest["stl"] < 1e-12
    assert largest["standard"] > 1e-2


def test_parts_and_accumulation_give_the_step_of_the_whole_batch():
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (12, 4, 3, 2)), tf.uint8)
    found = []
    for parts, accumulated in ((1, 1), (3, 2)):
        model = make_model(IWAE, num_samples=3, estimator="dreg")
        settings = TrainingSettings(batch_size=12, gradient_accumulation_steps=accumulated)
        step = ReplicaStep(model, keras.optimizers.SGD(0.1), InMemorySplit(pixels.numpy()), settings)
        step.use_cores(parts, step.probe({"images": pixels}))
        assert step.parallel_parts == parts
        found.append(step.compute(stored(pixels), 3))
    whole, cut = found
    for one, expected in zip(*map(tf.nest.flatten, (cut.gradients, whole.gradients))):
        np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-13)
    assert cut.metrics.keys() == whole.metrics.keys()
    assert float(cut.metrics[BOUND]) == pytest.approx(float(whole.metrics[BOUND]), rel=1e-12)


@pytest.mark.families
def test_a_traced_step_has_the_gradient_of_an_eager_one():
    model = make_model(IWAE, num_samples=K, estimator="dreg")
    variables = [variable.value for variable in model.trainable_variables]

    @tf.function(autograph=False)
    def traced(examples):
        with random.keyed(0, "train", 7), tf.GradientTape() as tape:
            bounds = model.objective(model.forward(examples, 7, training=True), 7)[BOUND].value
            loss = tf.reduce_mean(bounds)
        return tape.gradient(loss, variables)

    for one, other in zip(traced(tf.constant(images())), gradients(model, images())):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)


def test_a_saved_model_comes_back(tmp_path):
    model = make_model(IWAE, num_samples=K, estimator="dreg")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.num_samples, again.estimator) == (K, "dreg")
    one, other = (terms_of(each, images())[BOUND].value for each in (again, model))
    np.testing.assert_array_equal(one, other)


def test_an_evaluation_reports_the_bound_by_which_the_best_checkpoint_is_chosen():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = make_model(IWAE, num_samples=50)
    split = InMemorySplit(np.random.default_rng(0).integers(0, 256, (5, 4, 3, 2)).astype(np.uint8))
    with tiny_runs.untraced():
        results = Evaluator(Examples(model, split, strategy, batch_size=5, seed=3)).evaluate()
    with random.keyed(3, "evaluation", 0):
        random.normal((5, NUM_LATENTS))  # The one sample of the ELBO.
        epsilon = random.normal((250, NUM_LATENTS), "float64").numpy()
    expected = -log_mean_exp(log_weights(model, split.array / 255, epsilon, 50)).mean()
    assert results[BOUND] == pytest.approx(expected, rel=1e-10)
    assert results[BOUND] < results["negative_elbo"] - 0.1
    assert model.selection_score(results) == results[BOUND]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "`IWAE.num_samples` must be a positive integer, got 0"),
        ({"num_samples": 2.5}, "`IWAE.num_samples` must be a positive integer, got 2.5"),
        ({"estimator": "vimco"}, "`IWAE.estimator` must be .*'standard'"),
        ({"free_bits": 0.1}, "`IWAE.free_bits` must be left at 0.0, got 0.1: an IWAE has no KL term"),
        ({"kl_weight": LinearSchedule()}, "`IWAE.kl_weight` must be left at 1.0, got <"),
    ],
)
def test_a_faulty_setting_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        IWAE(**arguments)


@pytest.mark.parametrize(
    ("estimator", "block", "problem"),
    [
        (
            "dreg",
            lambda: IAFPosterior(num_flows=1, hidden_units=(4,)),
            "depends on variables of the posterior's",
        ),
        ("stl", DeterministicPosterior, "has none"),
    ],
)
def test_a_posterior_whose_density_is_not_of_its_evidence_alone_is_refused(estimator, block, problem):
    model = make_model(IWAE, num_samples=2, estimator=estimator, posterior=block())
    message = rf"`IWAE.estimator = '{estimator}'` needs .*{type(model.posterior).__name__} it {problem}"
    with pytest.raises(ConfigurationError, match=message):
        terms_of(model, images())


def test_the_standard_estimator_takes_a_flow():
    posterior = IAFPosterior(num_flows=1, hidden_units=(4,), dtype="float64")
    model = make_model(IWAE, num_samples=K, posterior=posterior)
    found = gradients(model, images())
    assert all(np.any(value) for value in found)


def test_a_posterior_without_a_density_is_refused():
    model = make_model(IWAE, num_samples=2, posterior=DeterministicPosterior())
    with pytest.raises(ConfigurationError, match="importance weights need densities, and Point"):
        terms_of(model, images())


def dreg():
    return IWAE(num_latents=3, num_samples=3, estimator="dreg")


def stl_with_vamp_prior():
    return IWAE(num_latents=3, num_samples=2, estimator="stl", prior=VampPrior(4))


@pytest.mark.families
@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("factory", [dreg, stl_with_vamp_prior])
def test_each_estimator_passes_the_checks(factory):
    testing.check_model(factory, (4, 3, 2))


@pytest.mark.families
@pytest.mark.slow
@pytest.mark.processes
def test_every_command_takes_it(tmp_path):
    settings = ("IWAE.estimator = 'dreg'", "IWAE.num_samples = 3", "Arrays.binarization = 'dynamic'")
    workdir = trained_runs.trained_folder(tmp_path, *settings, model="IWAE")
    evaluated = tiny_runs.metrics_lines(workdir)[-1]
    assert evaluated[f"evaluation/{BOUND}"] < evaluated["evaluation/negative_elbo"]
    for program in (evaluate, sample, embed, export, record):
        arguments = [f"--workdir={workdir}"]
        arguments += [f"--results={tmp_path}"] if program is record else []
        with tiny_runs.configuration_of_its_own():
            assert command_line.main(program.COMMAND, arguments) == 0, program.__name__
    report = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    assert (
        report["nll_is50_nats[dynamic]"] < report[f"{BOUND}_nats[dynamic]"] < report["nll_is1_nats[dynamic]"]
    )
