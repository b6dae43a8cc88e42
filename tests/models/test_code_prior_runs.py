"""A prior over a tokenizer's codes through the commands: train, evaluate, sample, and what is refused."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import vaeflow
from tests.fixtures import code_prior_runs, frozen_nets, tiny_runs, trained_runs
from tests.fixtures.code_prior_runs import call
from tests.fixtures.small_code_priors import random_codes
from vaeflow import random
from vaeflow.commands.programs import embed, evaluate, export, sample, train
from vaeflow.metrics.fidelity import GaussianFit
from vaeflow.metrics.fidelity.frechet_distance import frechet_distance

pytestmark = pytest.mark.families

SEEN = "CodePrior.num_classes = 3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data, a tokenizer with its codes, and a prior given labels: `data`, `tokenizer`, `prior`."""
    path = tmp_path_factory.mktemp("runs")
    trained_runs.write_data(path / "data")
    code_prior_runs.prior(path, code_prior_runs.tokenizer(path, path / "data"), SEEN)
    return path


def loaded(folder):
    with tiny_runs.configuration_of_its_own():
        return vaeflow.load(folder)


def sampled(folder, *arguments):
    """Runs `sample` on the prior, and returns what it wrote, name -> array."""
    assert call(sample, f"--workdir={folder}/prior", *arguments) == 0
    with np.load(folder / "prior" / "samples" / "samples.npz") as arrays:
        return dict(arrays)


def refused(capsys, program, *arguments):
    """What a command says on stderr, where it ends with code 2."""
    capsys.readouterr()
    assert call(program, *arguments) == 2
    return capsys.readouterr().err


def test_a_training_evaluates_saves_and_draws_no_pictures(folder):
    result = json.loads((folder / "prior" / "result.json").read_text())
    assert result["evaluation/bits_per_code"] == pytest.approx(
        result["evaluation/negative_log_likelihood"] / 4 / np.log(2), rel=1e-5
    )
    assert (folder / "prior" / "checkpoints" / "step-00000004").is_dir()
    assert not (folder / "prior" / "images").exists()
    assert "codes of 2 x 2 x 1" in (folder / "prior" / "environment.json").read_text()


def test_evaluate_gives_the_likelihood_of_the_encoded_split(folder, capsys):
    assert call(evaluate, f"--workdir={folder}/prior") == 0
    assert "left out" not in capsys.readouterr().err
    found = json.loads((folder / "prior" / "evaluation.json").read_text())["metrics"]
    with np.load(next((folder / "tokenizer" / "encoded" / "evaluation").glob("*.npz"))) as shard:
        batch = {"images": shard["codes"], "labels": shard["labels"]}
    expected = loaded(folder / "prior").forward(batch).negative_log_likelihood.numpy()
    assert len(expected) == 11
    assert found["negative_log_likelihood_nats[none]"] == pytest.approx(expected.mean(), rel=1e-5)
    assert set(found) == {"negative_log_likelihood_nats[none]", "bits_per_code[none]"}


def test_evaluate_compares_the_tokenizers_images_with_what_it_decodes(folder, tmp_path):
    net = frozen_nets.save(tmp_path / "net.keras", (8, 8, 1), 0, keras.layers.Dense(4, "tanh"))
    settings = [
        "evaluate.metrics = [@FrechetDistance()]",
        "FrechetDistance.net = @FeatureNet()",
        f"FeatureNet.file = '{tmp_path}/net.keras'",
    ]
    assert call(evaluate, f"--workdir={folder}/prior", *(f"--gin_param={each}" for each in settings)) == 0
    found = json.loads((folder / "prior" / "evaluation.json").read_text())["metrics"]
    distances = {name.partition("[")[0]: value for name, value in found.items() if "net=" in name}

    tokenizer = loaded(folder / "tokenizer")
    with np.load(folder / "data" / "evaluation.npz") as data:
        images, labels = (data["images"] / 255.0).astype("float32"), data["labels"]
    with random.keyed(0, "samples", 0):
        codes = loaded(folder / "prior").sample(11, labels)
    made = {"rfid": tokenizer(images), "gfid": tokenizer.decode_codes(codes).mean}
    for name, each in made.items():
        fits = []
        for pixels in (images, np.clip(each, 0, 1)):
            fits.append(GaussianFit())
            fits[-1].add(net(pixels).numpy())
        assert distances.pop(name) == pytest.approx(frechet_distance(*fits), rel=1e-4)
    assert not distances


def test_a_tokenizer_is_refused_where_nothing_is_decoded(folder, capsys):
    message = refused(capsys, evaluate, f"--workdir={folder}/prior", f"--tokenizer={folder}/tokenizer")
    assert "is for a `FeatureMetric` of a model of codes; leave it out" in message


def test_sample_decodes_codes_by_the_tokenizer_that_encoded(folder, capsys):
    drawn = sampled(folder, "--gin_param=sample.num_samples = 6")
    assert "left out for this CodePrior: reconstructions, interpolations and trav" in capsys.readouterr().err
    assert (folder / "prior" / "samples" / "samples-prior.png").stat().st_size > 100
    assert drawn["samples_prior_codes"].shape == (6, 2, 2, 1)
    assert drawn["samples_labels"].ravel().tolist() == [0, 1, 2, 0, 1, 2]
    expected = loaded(folder / "tokenizer").decode_codes(drawn["samples_prior_codes"]).mean
    np.testing.assert_allclose(drawn["samples_prior_images"], np.clip(expected, 0, 1), atol=1e-6)


def test_a_sample_does_not_depend_on_how_many_are_drawn(folder):
    few, many = (
        sampled(folder, f"--gin_param=sample.num_samples = {count}")["samples_prior_codes"]
        for count in (5, 70)
    )
    np.testing.assert_array_equal(few, many[:5])
    assert len(np.unique(many.reshape(70, -1), axis=0)) > 10


def test_labels_and_settings_of_the_draw(folder):
    settings = "sample.samplers = [@CodeSampler(), @likely/CodeSampler()]", "likely/CodeSampler.top_k = 1"
    drawn = sampled(folder, "--gin_param=sample.labels = 1", *(f"--gin_param={each}" for each in settings))
    assert np.unique(drawn["samples_labels"]).tolist() == [1]
    assert len(np.unique(drawn["samples_prior_2_codes"].reshape(64, -1), axis=0)) == 1
    assert (folder / "prior" / "samples" / "samples-prior_2.png").exists()


def test_a_tokenizer_that_has_moved_is_named_by_a_flag(folder, tmp_path, capsys):
    expected = sampled(folder, "--gin_param=sample.num_samples = 3")["samples_prior_images"]
    run = f"--workdir={folder}/prior"
    moved = tmp_path / "moved"
    shutil.copytree(folder / "tokenizer", moved)
    (folder / "tokenizer" / "config.gin").rename(folder / "tokenizer" / "hidden.gin")
    try:
        message = refused(capsys, sample, run)
        assert f"{folder}/tokenizer holds no run, and no tokenizer of the codes in" in message
        assert "say where it is with --tokenizer=<its work folder>" in message
        found = sampled(folder, f"--tokenizer={moved}", "--gin_param=sample.num_samples = 3")
    finally:
        (folder / "tokenizer" / "hidden.gin").rename(folder / "tokenizer" / "config.gin")
    np.testing.assert_array_equal(found["samples_prior_images"], expected)


def test_a_tokenizer_with_other_weights_is_refused(folder, tmp_path, capsys):
    other = code_prior_runs.trained(
        tmp_path,
        code_prior_runs.TOKENIZER.format(data=folder / "data", quantizer="VectorQuantizer"),
        "train.seed = 5",
        name="tokenizer",
    )
    message = refused(capsys, sample, f"--workdir={folder}/prior", f"--tokenizer={other}")
    assert f"step 4 of {other} has other weights than the tokenizer of the codes in" in message


def test_what_the_model_has_no_latents_for_is_refused(folder, capsys):
    run = f"--workdir={folder}/prior"
    assert "a CodePrior has no latents, and nothing to embed" in refused(capsys, embed, run)
    message = refused(capsys, evaluate, run, "--gin_param=evaluate.num_samples = 5")
    assert "the likelihood of a CodePrior is exact" in message
    message = refused(capsys, evaluate, run, "--gin_param=evaluate.metrics = [@ReconstructionQuality()]")
    assert "ReconstructionQuality compares images with reconstructions, and a CodePrior makes none" in message
    message = refused(capsys, sample, run, "--gin_param=sample.samplers = [@PriorSampler()]")
    assert "PriorSampler draws latents, which a CodePrior has not; set" in message


@pytest.mark.processes
def test_an_export_has_the_likelihood_and_draws(folder, capsys):
    """Checked in fresh processes by the command itself."""
    formats = "--gin_param=export.formats = ('saved_model', 'keras')"
    assert call(export, f"--workdir={folder}/prior", formats, traced=True) == 0
    saved = tf.saved_model.load(str(folder / "prior" / "export" / "saved_model"))
    codes, labels = random_codes(4, (2, 2, 1), 5), np.array([[0], [1], [2], [0]])
    expected = loaded(folder / "prior")({"images": codes, "labels": labels})
    np.testing.assert_allclose(saved.log_prob(codes, labels)["log_prob"], expected, rtol=1e-5, atol=1e-6)
    drawn = saved.sample(seed=tf.constant(3, tf.int64), labels=labels)["codes"].numpy()
    assert drawn.shape == (4, 2, 2, 1)
    assert drawn.min() >= 0
    assert drawn.max() < 5
    card = (folder / "prior" / "export" / "README.md").read_text()
    assert "A CodePrior for maps of codes of 2 x 2 x 1, trained for 4 steps.\n" in card
    assert "| net | CausalTransformer |" in card
    assert "1 of 5" in card


def test_a_tokenizer_of_a_model_with_latents_is_refused(folder, capsys):
    message = refused(capsys, sample, f"--workdir={folder}/tokenizer", f"--tokenizer={folder}/tokenizer")
    assert "is for a model of codes or latents, not for a VQVAE; leave it out" in message


def test_data_of_another_kind_are_refused(folder, tmp_path, capsys):
    flags = (f"--gin_file={folder}/prior.gin", f"--workdir={tmp_path}/run")
    message = refused(capsys, train, *flags, "--gin_param=train.model = @VQVAE")
    assert "VQVAE takes images, and the data are codes" in message
    message = refused(capsys, train, *flags, "--gin_param=train.dataset = @RenderedSprites()")
    assert "CodePrior takes codes, and the data are images" in message
    message = refused(capsys, train, *flags, "--gin_param=CodePrior.code_sizes = 7")
    assert "this data has [5]; set `CodePrior.code_sizes = [5]`" in message
    assert not (tmp_path / "run").exists()
