"""The scale of the latents in a model card."""

import types

import numpy as np
import pytest

from tests.fixtures import encoded_folders
from vaeflow.datasets.encoded import manifest
from vaeflow.errors import ConfigurationError, DataError
from vaeflow.export import scale
from vaeflow.runs.workdir import WorkDir


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose weights have the digest that the encodings of these tests name."""
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(scale.frozen_blocks, "without", lambda model, weights: weights)
    monkeypatch.setattr(scale, "weights_sha256", lambda weights: weights)
    model = types.SimpleNamespace(weights="a" * 64)
    return types.SimpleNamespace(model=model, workdir=WorkDir(tmp_path / "run"), checkpoint="step-00000020")


def test_the_rows_have_the_numbers_of_the_training_split(tmp_path):
    encoded_folders.write_latents(tmp_path)
    rows = scale.latent_rows(manifest.read(tmp_path))
    means = encoded_folders.latents(7).astype(np.float64)
    variances = np.exp(encoded_folders.latents(7, seed=2).astype(np.float64) / 10)
    of_samples = np.sqrt(means.var() + variances.mean())
    assert rows["mean of the latents"] == f"{means.mean():.6g} over 7 training images"
    expected = f"{means.std():.6g}, of samples from q(z\\|x) {of_samples:.6g}"
    assert rows["standard deviation of the latents"] == expected
    expected = (
        f"1 / standard deviation = {1 / means.std():.6g}, of samples from q(z\\|x) {1 / of_samples:.6g}"
    )
    assert rows["scale of the latents"] == expected
    channels = ", ".join(f"{each:.4g}" for each in means.std(axis=(0, 1, 2)))
    assert rows["standard deviation of each channel of the latents"] == channels


def test_without_an_encoding_nothing_is_known(tmp_path):
    assert scale.latent_rows(None)["scale of the latents"].startswith(
        "not measured; `vaeflow encode` does it"
    )
    encoded_folders.write_codes(tmp_path)
    assert scale.latent_rows(manifest.read(tmp_path)) == {}


def test_the_encoding_in_the_work_folder_counts_if_it_is_of_these_weights(run):
    assert scale.encoding_of(run, None) is None
    encoded_folders.write_latents(run.workdir.path / "encoded")
    assert scale.encoding_of(run, None).tokenizer["step"] == 20
    run.model.weights = "b" * 64
    assert scale.encoding_of(run, None) is None


def test_a_folder_that_was_named_must_be_of_these_weights(run, tmp_path):
    encoded_folders.write_latents(tmp_path / "elsewhere")
    assert scale.encoding_of(run, str(tmp_path / "elsewhere")) is not None
    run.model.weights = "b" * 64
    with pytest.raises(ConfigurationError, match=r"was encoded by other weights \(step 20 of a VQVAE, SHA"):
        scale.encoding_of(run, str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"holds no manifest.json"):
        scale.encoding_of(run, str(tmp_path))
