"""Every command on one model of each structure: what it writes, and what it leaves out and says so."""

import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

from tests.fixtures import tiny_runs, trained_runs
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, encode, evaluate, export, sample

pytestmark = pytest.mark.families


@dataclasses.dataclass(frozen=True)
class Structure:
    """A model, and what is defined for it.

    Attributes:
      model: the name of its class.
      settings: gin statements.
      left_out: parts of the lines that name what is left out.
      has_likelihood: whether the evaluation has importance sampling.
      has_elbo: whether it has a negative ELBO.
      latents: group -> the shape of its latents.
    """

    model: str
    settings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    has_likelihood: bool = True
    has_elbo: bool = True
    latents: tuple[tuple[str, tuple[int, ...]], ...] = (("", (3,)),)


NO_MUTUAL_INFORMATION = "the mutual information"
STRUCTURES = {
    "gaussian": Structure("VAE"),
    "point": Structure(
        "WAE",
        ("WAE.deterministic = True",),
        ("the negative ELBO and the KL", NO_MUTUAL_INFORMATION, "the likelihood, since the posterior of"),
        has_likelihood=False,
        has_elbo=False,
    ),
    "flows": Structure(
        "VAE",
        ("VAE.posterior = @IAFPosterior()", "IAFPosterior.hidden_units = (4,)", "VAE.prior = @FlowPrior()"),
        (NO_MUTUAL_INFORMATION,),
    ),
    "mixture": Structure("VAE", ("VAE.prior = @VampPrior()", "VampPrior.num_pseudo_inputs = 5")),
    "samples": Structure("IWAE", ("IWAE.num_samples = 3",)),
    "labels": Structure(
        "ConditionalVAE",
        ("ConditionalVAE.num_classes = 3", "Arrays.labels_key = 'labels'"),
        (NO_MUTUAL_INFORMATION,),
    ),
    "codes": Structure(
        "VQVAE",
        (
            "VQVAE.encoder = @ResidualMapEncoder()",
            "VQVAE.decoder = @ResidualMapDecoder()",
            "ResidualMapEncoder.filters = (4, 4)",
            "ResidualMapDecoder.filters = (4, 4)",
            "VQVAE.posterior = @VectorQuantizer()",
            "VectorQuantizer.num_codes = 5",
        ),
        (NO_MUTUAL_INFORMATION, "the likelihood, since the posterior of", "active units"),
        has_likelihood=False,
        latents=(("", (2, 2, 3)),),
    ),
    "ladder": Structure(
        "LadderVAE",
        (
            "LadderVAE.encoder = @ConvMapEncoder()",
            "LadderVAE.decoder = @ConvMapDecoder()",
            "LadderVAE.top_encoder = @ConvEncoder()",
            "LadderVAE.top_decoder = @ConvDecoder()",
            "ConvMapEncoder.filters = (4, 8)",
            "ConvMapDecoder.filters = (8, 4)",
            "ConvEncoder.filters = (4,)",
            "ConvEncoder.units = (8,)",
            "ConvDecoder.filters = (4,)",
            "ConvDecoder.units = (8,)",
        ),
        (NO_MUTUAL_INFORMATION,),
        latents=(("top", (3,)), ("bottom", (2, 2, 4))),
    ),
    "hierarchy": Structure(
        "HierarchicalVAE",
        (
            "HierarchicalVAE.encoder = @BottleneckEncoder()",
            "HierarchicalVAE.decoder = @TopDownDecoder()",
            "BottleneckEncoder.filters = 4",
            "BottleneckEncoder.num_blocks = 1",
            "BottleneckEncoder.strides = (4,)",
            "TopDownDecoder.num_groups = (1, 1)",
        ),
        (NO_MUTUAL_INFORMATION,),
        latents=(("2x2_1", (2, 2, 3)), ("8x8_1", (8, 8, 3))),
    ),
}


@pytest.fixture(scope="module", params=STRUCTURES)
def structure(request):
    return STRUCTURES[request.param]


@pytest.fixture(scope="module")
def workdir(structure, tmp_path_factory):
    folder = tmp_path_factory.mktemp(structure.model)
    return trained_runs.trained_folder(folder, *structure.settings, model=structure.model)


def run(command, workdir, *parameters):
    given = [f"--gin_param={parameter}" for parameter in parameters]
    with tiny_runs.configuration_of_its_own():
        return command_line.main(command.COMMAND, [f"--workdir={workdir}", *given])


def test_it_is_evaluated_and_what_is_left_out_is_named(structure, workdir, capsys):
    assert run(evaluate, workdir, "evaluate.num_examples = 5") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert len(said) == len(structure.left_out)
    for line, expected in zip(said, structure.left_out, strict=True):
        assert line.startswith(f"left out for this {structure.model}: {expected}")
    metrics = json.loads((workdir / "evaluation.json").read_text())["metrics"]
    assert np.all(np.isfinite(list(metrics.values())))
    assert ("nll_is50_nats[none]" in metrics) == structure.has_likelihood
    assert ("negative_elbo_nats[none]" in metrics) == structure.has_elbo


def test_it_is_sampled_and_embedded(structure, workdir):
    small = ("sample.num_samples = 6", "sample.num_fit_examples = 20", "sample.num_reconstructions = 4")
    samplers = "sample.samplers = [@PriorSampler()]"
    assert run(sample, workdir, *small, samplers) == 0
    assert run(embed, workdir) == 0
    with (
        np.load(workdir / "embeddings/evaluation.npz") as embedded,
        np.load(workdir / "samples/samples.npz") as drawn,
    ):
        for group, shape in structure.latents:
            prefix, suffix = (f"{group}_", f"_{group}") if group else ("", "")
            assert embedded[f"{prefix}latents"].shape == (11, *shape)
            # The mean of a Gaussian is its center.
            assert (f"{prefix}mean" in embedded) != (f"{prefix}center" in embedded)
            assert drawn[f"samples_prior_latents{suffix}"].shape == (6, *shape)
        assert np.all(np.isfinite(drawn["samples_prior_images"]))
        has_several = len(structure.latents) > 1
        assert (workdir / "samples/reconstructions-groups.png").exists() == has_several
        if has_several:
            by_groups = drawn["reconstruction_group_images"]
            assert by_groups.shape[:2] == (4, len(structure.latents))
            np.testing.assert_allclose(by_groups[:, -1], drawn["reconstruction_images"], atol=1e-6)
            assert np.abs(by_groups[:, 0] - by_groups[:, -1]).max() > 1e-4


def test_it_is_encoded(structure, workdir, tmp_path):
    with tiny_runs.configuration_of_its_own():
        assert command_line.main(encode.COMMAND, [f"--workdir={workdir}", f"--encoded={tmp_path}"]) == 0
    with np.load(tmp_path / "evaluation/00000-of-00001.npz") as encoded:
        for group, shape in structure.latents:
            prefix = f"{group}_" if group else ""
            if structure.model == "VQVAE":
                assert encoded["codes"].shape == (11, *shape[:-1], 1)
            else:
                stored = [name for name in ("mean", "latents") if f"{prefix}{name}" in encoded]
                assert [encoded[f"{prefix}{name}"].shape for name in stored] == [(11, *shape)]


# The converters and the fresh processes take half a minute for each; codes have the most signatures.
EXPORTED = {"codes"}


@pytest.mark.parametrize(
    "structure",
    [name if name in EXPORTED else pytest.param(name, marks=pytest.mark.matrix) for name in STRUCTURES],
    indirect=True,
)
def test_it_is_exported_and_each_file_computes_what_the_model_does(structure, workdir, monkeypatch):
    assert run(export, workdir, "export.formats = ('saved_model', 'keras', 'tflite', 'onnx')") == 0
    monkeypatch.chdir(workdir / "export")
    card = pathlib.Path("README.md").read_text()
    for use in ("perplexity", "usage", "dead"):
        assert (f"| evaluation/codes/{use} |" in card) == (structure.model == "VQVAE")
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names := {})
        assert ("of_codes" in names) == (structure.model == "VQVAE")
        if "of_codes" in names:
            np.testing.assert_allclose(names["of_codes"], names["decoded"], atol=1e-6)
