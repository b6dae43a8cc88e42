"""Runs of a conditional VAE by the real commands, and what it refuses before training."""

import json

import numpy as np
import pytest

import vaeflow
from tests.fixtures import tiny_runs
from tests.fixtures.trained_runs import SETTINGS, call_sample, trained_folder, write_data
from vaeflow.analysis.labels import columns_of_samples
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, evaluate, export, train

LABELLED = ("Arrays.labels_key = 'labels'", "ConditionalVAE.num_classes = 3")
EVERYWHERE = "ConditionalVAE.condition = ('encoder', 'decoder', 'prior')"


def call(program, folder, *parameters):
    """Runs a command on a work folder in this process; returns its exit code."""
    arguments = [f"--workdir={folder}", *(f"--gin_param={parameter}" for parameter in parameters)]
    with tiny_runs.configuration_of_its_own():
        return command_line.main(program.COMMAND, arguments)


def refused(tmp_path, capsys, *parameters):
    """What `train` says on stderr, where it ends with code 2 and writes no work folder."""
    write_data(tmp_path / "data")
    (tmp_path / "tiny.gin").write_text(SETTINGS.format(model="ConditionalVAE", data=tmp_path / "data"))
    given = [f"--gin_file={tmp_path}/tiny.gin", *(f"--gin_param={parameter}" for parameter in parameters)]
    with tiny_runs.configuration_of_its_own():
        assert command_line.main(train.COMMAND, [f"--workdir={tmp_path}/run", *given]) == 2
    return capsys.readouterr().err


def test_data_without_labels_is_refused(tmp_path, capsys):
    message = refused(tmp_path, capsys, LABELLED[1])
    assert "ConditionalVAE needs a label of each image, and this InMemorySplit has none; choose" in message


def test_labels_of_another_size_are_refused(tmp_path, capsys):
    message = refused(tmp_path, capsys, LABELLED[0], "ConditionalVAE.num_classes = 2")
    assert "made for labels with [2] values, this data has label (3); set" in message
    assert "`ConditionalVAE.num_classes = [3]`" in message


def test_a_configuration_without_the_number_of_classes_is_refused(tmp_path, capsys):
    assert "`ConditionalVAE.num_classes` must be given" in refused(tmp_path, capsys, LABELLED[0])


def test_pseudo_inputs_are_refused(tmp_path, capsys):
    message = refused(tmp_path, capsys, *LABELLED, "ConditionalVAE.prior = @VampPrior()")
    assert "VampPrior encodes pseudo-inputs, and ConditionalVAE would need a label of each; choose" in message


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        (None, 8),
        ([[0]] * 6, 8),
        ([[0], [1], [0]], 8),
        ([[0], [1], [2], [0]], 6),
        ([[i] for i in range(10)], 10),
        ([[i] for i in range(17)], 8),
        ([[0, 1], [1, 0]], 8),
    ],
)
def test_each_column_of_new_images_has_one_label(labels, columns):
    assert columns_of_samples(None if labels is None else np.array(labels), 8) == columns


@pytest.mark.families
@pytest.mark.slow
def test_all_commands(tmp_path, capsys):
    run = trained_folder(tmp_path, *LABELLED, EVERYWHERE, model="ConditionalVAE")
    assert call(evaluate, run, "evaluate.num_samples = [1, 3]") == 0
    metrics = json.loads((run / "evaluation.json").read_text())["metrics"]
    assert {"nll_is1_nats[none]", "nll_is3_nats[none]"} <= metrics.keys()
    assert not any("mutual" in name for name in metrics)
    assert call_sample(run, "sample.num_samples = 6", "sample.labels = [2, 0]") == 0
    with np.load(run / "samples" / "samples.npz") as arrays:
        assert arrays["samples_labels"].tolist() == [[2], [0], [2], [0], [2], [0]]
        assert arrays["samples_prior_images"].shape == (6, *tiny_runs.SHAPE)
        assert "samples_aggregate_posterior_images" not in arrays
    assert "left out for this ConditionalVAE: the samplers that are fitted" in capsys.readouterr().err
    assert call_sample(run, "sample.samplers = [@GaussianMixtureSampler()]") == 2
    assert "GaussianMixtureSampler needs latents that are one vector and no labels" in capsys.readouterr().err
    assert call(embed, run) == 0
    assert call(export, run, "export.formats = ['saved_model', 'keras', 'tflite', 'onnx']") == 0
    with tiny_runs.configuration_of_its_own():
        model = vaeflow.load(run, plugins=("tests.fixtures.tiny_runs",))
    images = np.zeros((2, *tiny_runs.SHAPE), "float32")
    assert model.sample(2, [1, 2]).shape == images.shape
    assert model.decode(model.encode(images, [1, 2]).mean, [1, 2]).mean.shape == images.shape
