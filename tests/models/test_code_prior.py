"""The model of codes: its likelihood against the enumeration of all maps, and draws against both."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import small_code_priors, tiny_runs
from tests.fixtures.small_code_priors import NETS, all_maps, made, number_of, random_codes
from vaeflow import random, testing
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.datasets import InMemoryCodes, InMemorySplit
from vaeflow.datasets.checks import check_reads
from vaeflow.errors import ConfigurationError
from vaeflow.layers.code_nets import CodeNet
from vaeflow.metrics import ReconstructionQuality
from vaeflow.models import VAE, CodePrior

MAPS = all_maps()
NUM_DRAWS = 5_000


def log_likelihoods(model, maps=MAPS, label=None):
    """log p of each map, `[maps]`."""
    labels = {} if label is None else {"labels": np.full((len(maps), 1), label)}
    return -model.forward({"images": maps} | labels).negative_log_likelihood.numpy()


def drawn(model, count=NUM_DRAWS, first_position=0, **arguments):
    with tiny_runs.untraced(), random.keyed(7, "test", 0, first_position):
        return model.sample(count, **arguments).numpy()


@pytest.fixture(scope="module", params=NETS)
def model(request):
    return made(request.param, num_classes=2)


def test_the_likelihoods_of_all_maps_add_up_to_1(model):
    for label in (0, 1):
        assert np.exp(log_likelihoods(model, label=label)).sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(log_likelihoods(model, label=0) - log_likelihoods(model, label=1)).max() > 0.1


def chi_squares(counts, probabilities):
    """Σ (n_i − N p_i)² / (N p_i): its mean is the number of terms minus 1, its variance twice that.

    What is expected less than 5 times is one term.
    """
    expected = counts.sum() * probabilities
    assert counts[expected == 0].sum() == 0
    rare = (expected > 0) & (expected < 5)
    counts, expected = (
        np.append(each[expected >= 5], each[rare].sum() if rare.any() else []) for each in (counts, expected)
    )
    return ((counts - expected) ** 2 / expected).sum(), len(expected) - 1


def assert_follows(maps, probabilities):
    found, degrees = chi_squares(np.bincount(number_of(maps), minlength=len(MAPS)), probabilities)
    assert abs(found - degrees) < 5 * math.sqrt(2 * degrees)


@pytest.mark.slow
def test_draws_follow_the_enumerated_distribution(model):
    """Within 5 standard deviations of χ²; a code drawn from another's conditional is far outside."""
    probabilities = np.exp(log_likelihoods(model, label=1))
    assert_follows(drawn(model, labels=np.ones(NUM_DRAWS, int)), probabilities)


def truncated(conditional, temperature, top_k, top_p):
    """A conditional `[K]` as the papers of temperature, top-k and nucleus change it."""
    p = conditional ** (1 / temperature)
    order = np.argsort(-p)
    p[order[top_k:]] = 0
    p /= p.sum()
    count = 1 + np.sum(np.cumsum(p[order]) < top_p)
    p[order[count:]] = 0
    return p / p.sum()


@pytest.mark.families
@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.5, 3, 1.0), (2.0, 2, 1.0), (1.0, 3, 0.7)])
def test_draws_are_tempered_and_truncated_code_by_code(temperature, top_k, top_p):
    """Conditionals by summing the enumerated distribution over what follows."""
    model = made()
    joint = np.exp(log_likelihoods(model)).reshape([3, 2] * 3)
    changed = np.ones_like(joint)
    for position in range(6):
        marginal = joint.sum(axis=tuple(range(position + 1, 6)))
        conditional = marginal / marginal.sum(axis=-1, keepdims=True)
        change = np.apply_along_axis(truncated, -1, conditional, temperature, top_k, top_p)
        changed *= change.reshape(change.shape + (1,) * (5 - position))
    assert np.abs(changed - joint).sum() > 0.2
    assert_follows(drawn(model, temperature=temperature, top_k=top_k, top_p=top_p), changed.ravel())


@pytest.mark.slow
def test_a_draw_depends_on_its_number_alone(model):
    labels = np.arange(12) % 2
    whole = drawn(model, 12, labels=labels)
    np.testing.assert_array_equal(drawn(model, 5, labels=labels[:5]), whole[:5])
    np.testing.assert_array_equal(drawn(model, 4, 8, labels=labels[8:]), whole[8:])
    assert len(np.unique(number_of(whole))) > 4


@pytest.mark.families
def test_compiled_once_the_loop_takes_the_noise_of_each_call():
    model = made()
    for seed in (7, 8):
        with random.keyed(seed, "test", 0):
            found = model.sample(8).numpy()
        np.testing.assert_array_equal(np.array_equal(found, drawn(model, 8)), seed == 7)


@pytest.mark.families
def test_with_kept_keys_and_values_the_draws_are_those_without(monkeypatch):
    model = made("transformer", (2, 3, 2))
    cached = drawn(model, 50)
    monkeypatch.delattr(type(model.net), "begin")
    monkeypatch.delattr(type(model.net), "next_logits")
    monkeypatch.delattr(type(model.net), "observe")
    assert type(model.net).next_logits is CodeNet.next_logits
    again = made("transformer", (2, 3, 2))
    np.testing.assert_array_equal(drawn(again, 50), cached)


@pytest.mark.slow
def test_the_loss_is_the_likelihood_and_bits_are_a_part_of_it():
    model, codes = made(), random_codes(5, small_code_priors.SHAPE, small_code_priors.SIZES)
    forward = model.forward(codes, 0, training=True)
    terms = model.objective(forward, 0)
    np.testing.assert_allclose(terms["negative_log_likelihood"].value, -log_likelihoods(model, codes))
    evaluated = {name: value.numpy() for name, value in model.evaluated(forward).items()}
    per_code = -model(codes).numpy() / math.log(2)
    np.testing.assert_allclose(evaluated["bits_per_code"], per_code.mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(evaluated["bits_per_code/1"], per_code[..., 1].mean(axis=(1, 2)))


@pytest.mark.slow
def test_an_evaluation_is_exact_over_the_split():
    """Also where the last batch is filled up."""
    model, codes = made(), random_codes(11, small_code_priors.SHAPE, small_code_priors.SIZES)
    examples = Examples(model, InMemoryCodes(codes, (3, 2)), tf.distribute.get_strategy(), 4)
    with tiny_runs.untraced():
        results = Evaluator(examples).evaluate()
    assert results["negative_log_likelihood"] == pytest.approx(
        -log_likelihoods(model, codes).mean(), rel=1e-12
    )
    assert results["bits_per_code"] == pytest.approx(results["negative_log_likelihood"] / 6 / math.log(2))
    assert set(results) == {
        "negative_log_likelihood", "bits_per_code", "bits_per_code/0", "bits_per_code/1"
    }  # fmt: skip
    assert model.selection_score(results) == results["negative_log_likelihood"]
    with pytest.raises(
        ConfigurationError, match=r"ReconstructionQuality compares images .* a CodePrior makes none"
    ):
        Evaluator(examples, [ReconstructionQuality()])


@pytest.mark.slow
def test_a_single_number_of_codes_stands_for_all_groups():
    assert made(shape=(1, 2, 3), sizes=4).code_sizes == (4, 4, 4)
    assert made(shape=(1, 2, 1), sizes=[4]).code_sizes == (4,)


def split(sizes=(3, 2)):
    return InMemoryCodes(random_codes(4, small_code_priors.SHAPE, sizes), sizes)


def test_data_of_another_kind_or_with_other_codes_are_refused():
    images = InMemorySplit(np.zeros((4, 1, 3, 2), np.uint8))
    check_reads(CodePrior((3, 2)), split())
    check_reads(CodePrior(3), split((3, 3)))
    with pytest.raises(
        ConfigurationError, match=r"CodePrior takes codes, and the data are images; set .*@Codes"
    ):
        check_reads(CodePrior((3, 2)), images)
    with pytest.raises(ConfigurationError, match="VAE takes images, and the data are codes; set"):
        check_reads(VAE(), split())
    for sizes in ((4, 2), 3, (3, 2, 2)):
        with pytest.raises(
            ConfigurationError, match=r"data has \[3, 2\]; set `CodePrior.code_sizes = \[3, 2\]`"
        ):
            check_reads(CodePrior(sizes), split())


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 1, 3, 2)), r"takes codes, integers of the shape \[B, 1, 3, 2\], got float64"),
        (np.zeros((2, 1, 2, 2), int), r"got int64 of \[B, 1, 2, 2\]; `vaeflow encode` makes codes of images"),
    ],
)
def test_what_are_no_codes_of_the_model_is_refused(codes, message):
    with pytest.raises(ConfigurationError, match=message):
        made()(codes)


def test_groups_that_have_no_number_are_refused():
    with pytest.raises(ConfigurationError, match=r"made for codes \[B, h, w, 2\], got \[B, 2, 2, 3\]"):
        CodePrior((3, 2)).build((None, 2, 2, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"code_sizes": 0}, "`CodePrior.code_sizes` must be a positive integer, got 0"),
        ({"code_sizes": []}, "`CodePrior.code_sizes` must be a number, or a list"),
        ({"code_sizes": 3, "num_classes": (2, -1)}, "`CodePrior.num_classes` must be a positive integer"),
        ({"code_sizes": 3, "net": CodeNet}, "`CodePrior.net` must be a Keras layer, .* with parentheses"),
    ],
)
def test_a_faulty_setting_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CodePrior(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "`temperature` must be a number above 0, got 0"),
        ({"top_k": 0}, "`top_k` must be a positive integer, got 0"),
        ({"top_p": 0.0}, "`top_p` must be a number above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, "`top_p` must be a number above 0 and at most 1, got 1.5"),
    ],
)
def test_faulty_settings_of_a_draw_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        made().sample(2, **arguments)


@pytest.mark.slow
def test_a_draw_needs_labels_of_the_right_number_and_a_built_model():
    with pytest.raises(
        ConfigurationError, match=r"CodePrior.sample` needs a model that knows the size of maps"
    ):
        CodePrior(3).sample(2)
    labelled = made(num_classes=3)
    with pytest.raises(
        ConfigurationError, match="CodePrior reads 'labels' of each image, and none were given"
    ):
        labelled.sample(2)
    with pytest.raises(ConfigurationError, match="was made for labels from 0 to 2, got"):
        labelled.sample(2, [0, 3])


@pytest.mark.families
def test_a_saved_model_draws_the_same(tmp_path):
    model = made("pixel_cnn", num_classes=2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    labels = np.arange(6) % 2
    np.testing.assert_array_equal(drawn(again, 6, labels=labels), drawn(model, 6, labels=labels))


# They take most of the time.
LONG = (testing.check_fit, testing.check_resume, testing.check_saving, testing.check_parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "check",
    [pytest.param(each, marks=pytest.mark.matrix) if each in LONG else each for each in testing.CHECKS],
)
def test_contract(check):
    check(small_code_priors.small, (2, 3, 2))


@pytest.mark.matrix
@pytest.mark.processes
def test_the_whole_contract():
    """With the other net, labels, and the check of two replicas."""
    testing.check_model(small_code_priors.small_conditional, (2, 3, 2))
