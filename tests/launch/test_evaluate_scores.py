"""Disentanglement scores of a trained model: their names, what they are computed of, and what is refused."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import factor_codes, small_code_priors, small_codes, tiny_runs, trained_runs, two_levels
from tests.fixtures.commands import Command
from tests.launch.test_evaluate import run_evaluate, scalars
from vaeflow.commands import evaluate_scores
from vaeflow.datasets import InMemoryCodes, InMemorySplit, RenderedSprites, pipeline
from vaeflow.errors import ConfigurationError
from vaeflow.metrics.disentanglement import MIG, Score

pytestmark = pytest.mark.slow  # Each test has a trained run.

QUICK = ("evaluate.num_samples = []", "evaluate.metrics = []")
SPRITES = (
    "train.dataset = @RenderedSprites()",
    "RenderedSprites.image_size = 16",
    "RenderedSprites.scales = (3, 3)",
    "RenderedSprites.orientations = (0, 4)",
    "RenderedSprites.x_positions = (10, 15)",
    "RenderedSprites.y_positions = (10, 15)",
)


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    """A run on 540 sprites, of which 54 are held out, all of one scale."""
    return trained_runs.trained_folder(tmp_path_factory.mktemp("sprites"), *SPRITES)


def scores(workdir):
    metrics = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith(("mig", "sap", "factor_vae"))}


@pytest.mark.long
def test_both_protocols(sprites, capsys):
    settings = [
        "evaluate.scores = [@MIG(), @published/MIG(), @few/MIG()]",
        "published/MIG.protocol = 'published'",
        "published/MIG.num_points = 100",
        "few/MIG.num_points = 40",
        "few/MIG.num_bins = 5",
    ]
    assert run_evaluate(sprites, *QUICK, *settings) == 0
    found = scores(sprites)
    names = ["mig[none,pool,n=54]", "mig[none,published,n=100]", "mig[none,pool,n=40,bins=5]"]
    assert list(found) == names
    assert all(0 < value < 1 for value in found.values())
    assert len(set(found.values())) == 3
    captured = capsys.readouterr()
    assert names[1] in captured.out
    assert (
        "left out for this VAE: the factor 'scale' in the scores, since the images have one value of it"
        in captured.err
    )
    assert scalars(sprites)[f"evaluate/{names[0]}"][1] == pytest.approx(found[names[0]])


def run_of(model, dataset=None):
    dataset = tiny_runs.dataset() if dataset is None else dataset
    return types.SimpleNamespace(model=model, dataset=dataset, strategy=tf.distribute.get_strategy())


def measured(model, seed, protocol):
    """The scores of a model on 40 of 54 sprites that are held out, or on 40 of all 540."""
    places = {"x_positions": (10, 15), "y_positions": (10, 15), "scales": (3, 3), "orientations": (0, 4)}
    source = RenderedSprites(16, **places)
    chosen = [MIG(protocol=protocol, num_points=40)]
    return evaluate_scores.Scores(
        run_of(model, source), chosen, pipeline.read_split(source, "evaluation"), seed
    ).measure()[0]


@pytest.mark.long
@pytest.mark.processes
def test_four_replicas_give_the_same_bits(sprites):
    settings = ["evaluate.scores = [@MIG(), @FactorVAEScore(), @SAP()]"]
    settings += ["FactorVAEScore.num_train = 200", "FactorVAEScore.num_test = 200"]
    assert run_evaluate(sprites, *QUICK, *settings) == 0
    one = scores(sprites)
    flags = [f"--gin_param={each}" for each in (*QUICK, *settings, "evaluate.batch_size = 4")]
    finished = Command(
        "launch.evaluate", [f"--workdir={sprites}", *flags, "--virtual_devices=4"], sprites
    ).finish()
    assert finished.code == 0, finished.error
    assert len(one) == 3
    assert scores(sprites) == one


class Careless(Score):
    """A score of a user's, which forgets to name its result."""

    def measure(self, representations, seed):
        return 0.5


def test_what_a_score_of_ones_own_returns_is_checked():
    factors = np.arange(6)[:, None] % 2
    pool = factor_codes.pool(factors.astype(float), factors, (2,))
    with pytest.raises(ConfigurationError, match=r"`Careless.measure` must return a dict, name -> float"):
        evaluate_scores._measured(Careless(), pool, 0)


@pytest.mark.parametrize("protocol", ["pool", "published"])
def test_the_seed_chooses_the_images(protocol):
    keras.utils.set_random_seed(0)
    model = tiny_runs.model()
    model.build((None, 16, 16, 1))
    one, again, other = (measured(model, seed, protocol) for seed in (3, 3, 4))
    assert one == again
    assert one.keys() == other.keys() == {f"mig[none,{protocol},n=40]"}
    assert one != other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("evaluate.scores = [@MIG]",), "must be a list of Scores"),
        (("evaluate.scores = [@MIG()]", "MIG.protocol = 'fresh'"), "must be one of 'pool', 'published'"),
        (("evaluate.scores = [@MIG()]", "MIG.num_points = 0"), "`MIG.num_points` must be a positive integer"),
        (("evaluate.scores = [@MIG()]", "MIG.num_bins = 0"), "`MIG.num_bins` must be a positive integer"),
    ],
)
def test_bad_settings(sprites, capsys, settings, message):
    assert run_evaluate(sprites, *settings) == 2
    assert message in capsys.readouterr().err


def labelled(images):
    return InMemorySplit(images, np.arange(len(images)) % 3)


def built(model):
    model.build((None, *tiny_runs.SHAPE))
    return model


def codes():
    maps = small_code_priors.random_codes(6, small_code_priors.SHAPE, small_code_priors.SIZES)
    return InMemoryCodes(maps, small_code_priors.SIZES, np.arange(6) % 3)


@pytest.mark.parametrize(
    ("model", "split", "message"),
    [
        (
            two_levels.make,
            lambda: labelled(two_levels.images(6).astype(np.float32)),
            "top of 3, bottom of 2 x 2 x 1; leave",
        ),
        (lambda: built(small_codes.small()), lambda: labelled(tiny_runs.images(6)), "has z of .* of codes;"),
        (small_code_priors.made, codes, "a CodePrior has none"),
    ],
    ids=["groups", "codes", "no latents"],
)
def test_latents_that_are_not_one_vector(model, split, message):
    with pytest.raises(ConfigurationError, match=f"reads one vector of latents, and .*{message}"):
        evaluate_scores.Scores(run_of(model()), [MIG()], split(), 0)


def test_images_without_factors():
    split = InMemorySplit(tiny_runs.images(6))
    with pytest.raises(
        ConfigurationError, match=r"those of MemoryDataset have none; leave `evaluate.scores` out"
    ):
        evaluate_scores.Scores(run_of(tiny_runs.model()), [MIG()], split, 0)


def test_labels_that_no_image_can_be_made_for():
    split = labelled(tiny_runs.images(6))
    with pytest.raises(ConfigurationError, match="for given factors, which MemoryDataset cannot make; use"):
        evaluate_scores.Scores(run_of(tiny_runs.model()), [MIG(protocol="published")], split, 0)
