"""IWAE: its bound against NumPy, what it logs and refuses, and the commands."""

import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_vae, tiny_runs, trained_runs
from tests.fixtures.numpy_iwae import BOUND, K, gradients, log_mean_exp, log_weights, loss, noise
from tests.fixtures.replica_steps import stored
from tests.fixtures.small_objectives import NUM_LATENTS, images, loss_of, make_model, terms_of
from vaeflow import random, testing
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, evaluate, export, record, sample
from vaeflow.datasets import InMemorySplit
from vaeflow.errors import ConfigurationError
from vaeflow.layers import (
    DeterministicPosterior,
    IAFPosterior,
    VampPrior,
)
from vaeflow.models import IWAE
from vaeflow.models.iwae import ESTIMATORS
from vaeflow.schedules import LinearSchedule
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_bound_is_the_log_mean_weight(estimator):
    model = make_model(IWAE, num_samples=K, estimator=estimator)
    expected = -log_mean_exp(log_weights(model, images(), noise()))
    np.testing.assert_allclose(terms_of(model, images())[BOUND].value, expected, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("num_samples", "num_bounds", "elbo_weight"), [(2, 3, 0.0), (6, 1, 0.3), (2, 2, 1.0)]
)
def test_bounds_are_averaged_and_mixed_with_the_elbo(estimator, num_samples, num_bounds, elbo_weight):
    settings = {"num_bounds": num_bounds, "elbo_weight": elbo_weight}
    model = make_model(IWAE, num_samples=num_samples, estimator=estimator, **settings)
    count = num_samples * num_bounds
    expected = loss(log_weights(model, images(), noise(count), count), **settings)
    assert loss_of(terms_of(model, images())) == pytest.approx(expected.mean(), rel=1e-10)


def test_a_pass_with_another_number_of_samples_has_one_bound():
    model = make_model(IWAE, num_samples=2, num_bounds=2)
    with random.keyed(0, "train", 7):
        terms = model.objective(model.forward(tf.constant(images()), num_samples=3), 7)
    expected = -log_mean_exp(log_weights(model, images(), noise(3), 3))
    np.testing.assert_allclose(terms[BOUND].value, expected, rtol=1e-10)


def test_reconstruction_and_kl_are_logged_as_means_over_the_samples():
    model = make_model(IWAE, num_samples=K)
    terms = terms_of(model, images())
    rows = np.repeat(images(), K, axis=0)
    mean, log_variance, _, outputs = numpy_vae.forward(model, rows, noise())
    loss = numpy_vae.bernoulli_loss(outputs, rows).reshape(-1, K).mean(axis=1)
    np.testing.assert_allclose(terms["reconstruction_loss"].value, loss, rtol=1e-10)
    np.testing.assert_allclose(terms["kl"].value, numpy_vae.kl(mean, log_variance)[::K], rtol=1e-10)
    assert [term.weight for term in terms.values()] == [1.0, 0.0, 0.0]


@pytest.mark.slow
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


@pytest.mark.slow
def test_parts_and_accumulation_give_the_step_of_the_whole_batch():
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (12, 4, 3, 2)), tf.uint8)
    found = []
    for parts, accumulated in ((1, 1), (3, 2)):
        model = make_model(IWAE, num_samples=3, estimator="dreg", num_bounds=2, elbo_weight=0.3)
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


@pytest.mark.slow
def test_a_saved_model_comes_back(tmp_path):
    settings = {"num_samples": K, "estimator": "dreg", "num_bounds": 2, "elbo_weight": 0.3}
    model = make_model(IWAE, **settings)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert {name: getattr(again, name) for name in settings} == settings
    one, other = (terms_of(each, images())[BOUND].value for each in (again, model))
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_an_evaluation_reports_the_bound_by_which_the_best_checkpoint_is_chosen():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = make_model(IWAE, num_samples=25, num_bounds=2)
    split = InMemorySplit(np.random.default_rng(0).integers(0, 256, (5, 4, 3, 2)).astype(np.uint8))
    with tiny_runs.untraced():
        results = Evaluator(Examples(model, split, strategy, batch_size=5, seed=3)).evaluate()
    with random.keyed(3, "evaluation", 0):
        random.normal((5, NUM_LATENTS))  # The one sample of the ELBO.
        epsilon = random.normal((250, NUM_LATENTS), "float64").numpy()
    expected = loss(log_weights(model, split.array / 255, epsilon, 50), num_bounds=2).mean()
    assert results[BOUND] == pytest.approx(expected, rel=1e-10)
    assert results[BOUND] < results["negative_elbo"] - 0.1
    assert model.selection_score(results) == results[BOUND]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "`IWAE.num_samples` must be a positive integer, got 0"),
        ({"num_samples": 2.5}, "`IWAE.num_samples` must be a positive integer, got 2.5"),
        ({"num_bounds": 0}, "`IWAE.num_bounds` must be a positive integer, got 0"),
        ({"elbo_weight": 1.1}, r"`IWAE.elbo_weight` must be .* in \[0, 1\], got 1.1"),
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


def several_bounds_and_the_elbo():
    return IWAE(num_latents=3, num_samples=2, estimator="dreg", num_bounds=2, elbo_weight=0.3)


@pytest.mark.matrix
@pytest.mark.processes
@pytest.mark.parametrize("factory", [dreg, stl_with_vamp_prior, several_bounds_and_the_elbo])
def test_each_estimator_passes_the_checks(factory):
    testing.check_model(factory, (4, 3, 2))


@pytest.mark.matrix
@pytest.mark.processes
def test_every_command_takes_it(tmp_path):
    settings = ("IWAE.estimator = 'dreg'", "IWAE.num_samples = 3", "Arrays.binarization = 'dynamic'")
    settings += ("IWAE.num_bounds = 2", "IWAE.elbo_weight = 0.3")
    workdir = trained_runs.trained_folder(tmp_path, *settings, model="IWAE")
    evaluated = tiny_runs.metrics_lines(workdir)[-1]
    assert evaluated[f"evaluation/{BOUND}"] < evaluated["evaluation/negative_elbo"]
    for program in (evaluate, sample, embed, export, record):
        arguments = [f"--workdir={workdir}"]
        arguments += [f"--results={tmp_path}"] if program is record else []
        with tiny_runs.configuration_of_its_own():
            assert command_line.main(program.COMMAND, arguments) == 0, program.__name__
    report = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    of_one, of_many = report["nll_is1_nats[dynamic]"], report["nll_is50_nats[dynamic]"]
    # In the mean it lies between the two; on 11 images the noise of each is a tenth of a nat and more.
    assert report[f"{BOUND}_nats[dynamic]"] < (of_one + of_many) / 2
