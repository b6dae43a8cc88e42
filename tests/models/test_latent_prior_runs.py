"""Models of an autoencoder's latents through the commands: train, evaluate, sample, and what is refused."""

import json
import shutil

import numpy as np
import pytest

import vaeflow
from tests.fixtures import latent_prior_runs, tiny_runs, trained_runs
from tests.fixtures.code_prior_runs import call
from vaeflow import random
from vaeflow.commands.programs import embed, encode, evaluate, export, sample, train

pytestmark = pytest.mark.families


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data, an autoencoder with its latents, a diffusion prior given labels, and a VAE of the latents."""
    path = tmp_path_factory.mktemp("runs")
    trained_runs.write_data(path / "data")
    latent_prior_runs.autoencoder(path, path / "data")
    latent_prior_runs.second_stage(path, latent_prior_runs.DIFFUSION, name="diffusion")
    latent_prior_runs.second_stage(path, latent_prior_runs.TWO_STAGE, name="second")
    return path


def loaded(folder):
    with tiny_runs.configuration_of_its_own():
        return vaeflow.load(folder)


def sampled(workdir, *arguments):
    """Runs `sample`, and returns what it wrote, name -> array."""
    assert call(sample, f"--workdir={workdir}", *arguments) == 0
    with np.load(workdir / "samples" / "samples.npz") as arrays:
        return dict(arrays)


def refused(capsys, program, *arguments):
    """What a command says on stderr, where it ends with code 2."""
    capsys.readouterr()
    assert call(program, *arguments) == 2
    return capsys.readouterr().err


def scale_of(folder):
    """Mean and deviation of samples of each channel of the latents, of the manifest."""
    manifest = json.loads((folder / "autoencoder" / "encoded" / "manifest.json").read_text())
    (statistics,) = manifest["splits"]["train"]["statistics"].values()
    return (np.array(statistics["channels"][name]) for name in ("mean", "sample_deviation"))


def test_a_training_evaluates_saves_and_draws_no_pictures(folder):
    result = json.loads((folder / "diffusion" / "result.json").read_text())
    assert result["evaluation/noise_loss"] == pytest.approx(12 * result["evaluation/noise_error"], rel=1e-5)
    assert not (folder / "diffusion" / "images").exists()
    assert "latents of 2 x 2 x 3" in (folder / "diffusion" / "environment.json").read_text()
    assert call(evaluate, f"--workdir={folder}/diffusion") == 0
    found = json.loads((folder / "diffusion" / "evaluation.json").read_text())["metrics"]
    assert set(found) == {"noise_loss[none]", "noise_error[none]"}


def test_sample_decodes_latents_in_the_scale_of_the_autoencoder(folder, capsys):
    drawn = sampled(folder / "diffusion", "--gin_param=sample.num_samples = 6")
    assert "left out for this DiffusionPrior: reconstructions, interpolations" in capsys.readouterr().err
    assert (folder / "diffusion" / "samples" / "samples-prior.png").stat().st_size > 100
    assert drawn["samples_labels"].ravel().tolist() == [0, 1, 2, 0, 1, 2]
    with random.keyed(0, "latents", 0):
        scaled = loaded(folder / "diffusion").sample(6, drawn["samples_labels"]).numpy()
    mean, deviation = scale_of(folder)
    np.testing.assert_allclose(
        drawn["samples_prior_latents"], scaled * deviation + mean, rtol=1e-4, atol=1e-5
    )
    expected = loaded(folder / "autoencoder").decode(drawn["samples_prior_latents"]).mean
    np.testing.assert_allclose(drawn["samples_prior_images"], np.clip(expected, 0, 1), atol=1e-6)


def test_the_temperature_of_a_draw_is_a_setting(folder):
    settings = (
        "sample.samplers = [@PriorSampler(), @cold/PriorSampler()]",
        "cold/PriorSampler.temperature = 1e-3",
    )
    drawn = sampled(folder / "diffusion", *(f"--gin_param={each}" for each in settings))
    cold, usual = (drawn[f"samples_{name}_latents"][::3].std(axis=0).mean() for name in ("prior_2", "prior"))
    assert cold < 0.01 * usual


def test_an_autoencoder_that_has_moved_is_named_by_a_flag(folder, tmp_path, capsys):
    shutil.copytree(folder / "autoencoder", tmp_path / "moved")
    (folder / "autoencoder" / "config.gin").rename(folder / "autoencoder" / "hidden.gin")
    try:
        message = refused(capsys, sample, f"--workdir={folder}/diffusion")
        assert f"{folder}/autoencoder holds no run, and no tokenizer of the latents in" in message
        found = sampled(folder / "diffusion", f"--tokenizer={tmp_path}/moved")
    finally:
        (folder / "autoencoder" / "hidden.gin").rename(folder / "autoencoder" / "config.gin")
    assert found["samples_prior_images"].shape == (64, 8, 8, 1)


def test_what_a_model_of_latents_has_not_is_refused(folder, capsys):
    run = f"--workdir={folder}/diffusion"
    assert "a DiffusionPrior has no latents, and nothing to embed" in refused(capsys, embed, run)
    assert "DiffusionPrior has no latents, so it encodes nothing" in refused(capsys, encode, run)
    message = refused(capsys, evaluate, run, "--gin_param=evaluate.num_samples = 5")
    assert "a DiffusionPrior has no likelihood, and no sample of latents estimates it" in message
    message = refused(capsys, sample, run, "--gin_param=sample.samplers = [@CodeSampler()]")
    assert (
        "CodeSampler draws codes, which a DiffusionPrior has not; set `sample.samplers = [@Prior" in message
    )
    assert "`vaeflow export` writes models with latents and models of codes" in refused(capsys, export, run)


def test_a_two_stage_vae_draws_latents_that_the_first_stage_decodes(folder, capsys):
    drawn = sampled(folder / "second", "--gin_param=sample.num_samples = 6")
    assert "left out for this VAE: reconstructions, interpolations" in capsys.readouterr().err
    assert not (folder / "second" / "images").exists()
    with random.keyed(0, "latents", 0):
        expected = loaded(folder / "second").sample(6)
    np.testing.assert_allclose(drawn["samples_prior_latents"], expected, rtol=1e-5)
    images = loaded(folder / "autoencoder").decode(drawn["samples_prior_latents"]).mean
    np.testing.assert_allclose(drawn["samples_prior_images"], np.clip(images, 0, 1), atol=1e-6)


def test_a_two_stage_vae_is_evaluated_without_measures_of_pixels(folder):
    assert call(evaluate, f"--workdir={folder}/second", "--gin_param=evaluate.num_samples = 2") == 0
    found = json.loads((folder / "second" / "evaluation.json").read_text())["metrics"]
    assert {"negative_elbo_nats[none]", "nll_is2_nats[none]"} <= set(found)
    assert not any("bits" in name or "reconstruction_mse" in name or "psnr" in name for name in found)


def test_a_two_stage_vae_is_embedded_without_pictures(folder):
    assert call(embed, f"--workdir={folder}/second") == 0
    with np.load(folder / "second" / "embeddings" / "evaluation.npz") as embedded:
        assert embedded["mean"].shape == (11, 4)
    assert not list((folder / "second").rglob("*sprite*"))


def test_latents_that_do_not_fit_are_refused(folder, capsys):
    run = f"--workdir={folder}/second"
    assert "this VAE is a model of latents, which `vaeflow export` does not" in refused(capsys, export, run)
    flags = (f"--gin_file={folder}/second.gin", f"--workdir={folder}/refused")
    message = refused(capsys, train, *flags, "--gin_param=VAE.likelihood = @BernoulliLikelihood()")
    assert (
        "BernoulliLikelihood is for pixels, and latents are any numbers; set `VAE.likelihood` to @G"
        in message
    )
    message = refused(capsys, train, *flags, "--gin_param=VAE.takes = 'images'")
    assert "VAE takes images, and the data are latents; set" in message
    assert "or a VAE with `VAE.takes = 'latents'`" in message
