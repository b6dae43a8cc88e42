"""Runs of M2 by the real commands, of whose training images most have no label."""

import json

import numpy as np
import pytest

import vaeflow
from tests.fixtures import small_trainers, tiny_runs
from tests.fixtures.trained_runs import call_sample, trained_folder
from vaeflow.commands import command_line
from vaeflow.commands.programs import embed, evaluate, export
from vaeflow.datasets import InMemorySplit
from vaeflow.datasets.partly_labelled import PartlyLabelledSplit
from vaeflow.layers import DenseDecoder, DenseEncoder
from vaeflow.models import M2

SETTINGS = ("Arrays.labels_key = 'labels'", "Arrays.num_labelled = 9", "M2.num_classes = 3")


@pytest.mark.matrix
@pytest.mark.slow
def test_all_commands(tmp_path, capsys):
    run = trained_folder(tmp_path, *SETTINGS, model="M2")
    for program, given in (
        (evaluate, ("evaluate.num_samples = [2]",)),
        (embed, ()),
        (export, ("export.formats = ['saved_model']",)),
    ):
        arguments = [f"--workdir={run}", *(f"--gin_param={parameter}" for parameter in given)]
        with tiny_runs.configuration_of_its_own():
            assert command_line.main(program.COMMAND, arguments) == 0, program
    metrics = json.loads((run / "evaluation.json").read_text())["metrics"]
    expected = ("accuracy", "negative_elbo_without_label_nats", "classification_loss_nats", "nll_is2_nats")
    assert {f"{name}[none]" for name in expected} <= metrics.keys()
    assert 0 <= metrics["accuracy[none]"] <= 1
    assert call_sample(run, "sample.num_samples = 6", "sample.labels = [2, 0]") == 0
    with np.load(run / "samples" / "samples.npz") as arrays:
        assert arrays["samples_prior_images"].shape == (6, *tiny_runs.SHAPE)
    capsys.readouterr()
    with tiny_runs.configuration_of_its_own():
        model = vaeflow.load(run, plugins=("tests.fixtures.tiny_runs",))
    classes = model.sample_latents(3, [2, 1, 0])["y"]
    np.testing.assert_array_equal(classes, np.eye(3)[[2, 1, 0]])


def small_model():
    blocks = {"encoder": DenseEncoder((6,)), "decoder": DenseDecoder((6,)), "classifier": DenseEncoder((5,))}
    return M2(3, num_latents=2, **blocks)


def trained_weights(**settings):
    source = InMemorySplit(small_trainers.images(), np.arange(small_trainers.NUM_EXAMPLES) % 3)
    split = PartlyLabelledSplit(source, 6, "num_labelled")
    with tiny_runs.untraced():
        trainer = small_trainers.make_trainer(split=split, make_model=small_model, **settings)
        trainer.train(3)
    return small_trainers.weights(trainer)


@pytest.mark.families
@pytest.mark.slow
def test_labels_held_on_the_device_and_streamed_give_the_same_bits():
    resident, streamed = (trained_weights(resident_data=held) for held in (True, False))
    for one, other in zip(resident, streamed, strict=True):
        np.testing.assert_array_equal(one, other)
