"""Runs of families with one vector of latents by the real commands."""

import json

import numpy as np
import pytest

from tests.fixtures import tiny_runs
from tests.fixtures.trained_runs import call_sample, trained_folder
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, evaluate, export

SMALL_VAEGAN = (
    "VAEGAN.adversary = @Adversary()",
    "Adversary.adaptive = False",
    "Adversary.discriminator = @FeatureDiscriminator()",
    "FeatureDiscriminator.filters = (4, 6)",
)

# The model, its settings, and whether it has an ELBO.
CASES = {
    "RAE": ("RAE", ("RAE.gradient_penalty_weight = 0.1", "RAE.decoder_decay = 0.01"), False),
    "SWAE": ("SWAE", (), False),
    "AAE": ("AdversarialAutoencoder", ("AdversarialAutoencoder.discriminator_units = (8,)",), False),
    "sphere": (
        "VAE",
        ("VAE.posterior = @VonMisesFisherPosterior()", "VAE.prior = @UniformSpherePrior()"),
        True,
    ),
    "VAEGAN": ("VAEGAN", SMALL_VAEGAN, True),
}

OF_EACH_KIND = {"SWAE"}  # A regularizer in place of the KL.


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=getattr(pytest.mark, "families" if case in OF_EACH_KIND else "matrix"))
        for case in CASES
    ],
)
def test_all_commands(case, tmp_path, capsys):
    model, parameters, has_elbo = CASES[case]
    run = trained_folder(tmp_path, *parameters, model=model)
    for program, given in ((evaluate, ()), (embed, ()), (export, ("export.formats = ['saved_model']",))):
        arguments = [f"--workdir={run}", *(f"--gin_param={parameter}" for parameter in given)]
        with tiny_runs.configuration_of_its_own():
            assert command_line.main(program.COMMAND, arguments) == 0, program
    metrics = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert "reconstruction_loss_nats[none]" in metrics
    assert ("negative_elbo_nats[none]" in metrics) is has_elbo
    assert any(name.startswith("nll") for name in metrics) is has_elbo
    mixture = ("sample.samplers = [@GaussianMixtureSampler()]", "GaussianMixtureSampler.num_components = 2")
    assert call_sample(run, "sample.num_samples = 6", *mixture) == 0
    with np.load(run / "samples" / "samples.npz") as arrays:
        assert arrays["samples_gaussian_mixture_images"].shape == (6, *tiny_runs.SHAPE)
    capsys.readouterr()
