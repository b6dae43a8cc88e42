"""The command that evaluates: what it writes, on one replica and on four, and what it refuses."""

import hashlib
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from tests.fixtures import frozen_nets, tiny_runs, trained_runs
from tests.fixtures.commands import Command
from vaeflow.commands import command_line
from vaeflow.commands.evaluate_report import _remarks
from vaeflow.commands.programs import evaluate

pytestmark = pytest.mark.slow  # Each test has a trained run.

STANDARD = {
    "negative_elbo_nats", "reconstruction_loss_nats", "kl_nats", "active_units", "mutual_information_nats",
    "kl_per_dimension_nats/00", "kl_per_dimension_nats/01", "kl_per_dimension_nats/02",
    "reconstruction_l1", "reconstruction_mse", "reconstruction_psnr_db", "reconstruction_ssim",
}  # fmt: skip


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    return trained_runs.trained_folder(folder, "Arrays.binarization = 'dynamic'", "train.batch_size = 4")


def run_evaluate(workdir, *parameters, flags=()):
    """Runs the command in this process; returns its exit code."""
    given = [f"--gin_param={parameter}" for parameter in parameters]
    with tiny_runs.configuration_of_its_own():
        arguments = [f"--workdir={workdir}", *given, *flags]
        return command_line.main(evaluate.COMMAND, arguments)


def report(workdir, name="evaluation.json"):
    return json.loads((workdir / name).read_text())


def scalars(workdir):
    """All scalars in TensorBoard's files: tag -> (step, value)."""
    found = {}
    for path in workdir.glob("tensorboard/events*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found[value.tag] = (event.step, float(tf.make_ndarray(value.tensor)))
    return found


def test_what_it_writes(workdir, capsys):
    assert run_evaluate(workdir) == 0
    found = report(workdir)
    metrics = found.pop("metrics")
    # Without validation images, the newest: test images must not choose what they then measure.
    newest = max(int(path.name.removeprefix("step-")) for path in workdir.glob("checkpoints/step-*"))
    assert found == {
        "step": newest,
        "checkpoint": f"step-{newest:08d}",
        "dataset": "Arrays",
        "split": "evaluation",
        "num_examples": 11,
        "mutual_information_examples": 11,
        "mutual_information_ceiling_nats": math.log(11),
        "binarization": "dynamic",
        "seed": 0,
        "num_replicas": 1,
        "configuration": "\n",
    }
    likelihoods = {"nll_is1_nats", "bits_per_dimension_is1", "nll_is50_nats", "bits_per_dimension_is50"}
    assert metrics.keys() == {f"{name}[dynamic]" for name in STANDARD | likelihoods}
    value = {name.removesuffix("[dynamic]"): number for name, number in metrics.items()}
    assert value["negative_elbo_nats"] == pytest.approx(value["reconstruction_loss_nats"] + value["kl_nats"])
    # One sample estimates the same bound; fifty give a tighter one.
    assert value["nll_is1_nats"] == pytest.approx(value["negative_elbo_nats"], abs=3.0)
    assert value["nll_is50_nats"] < value["negative_elbo_nats"]
    assert value["bits_per_dimension_is50"] == pytest.approx(value["nll_is50_nats"] / (64 * math.log(2)))
    assert 0 <= value["mutual_information_nats"] <= math.log(11)
    out = capsys.readouterr().out
    assert f"{value['nll_is50_nats']:.4f}" in out
    assert "KL of each latent" in out
    assert "is saturated" not in out
    tag = "evaluate/nll_is50_nats[dynamic]"
    assert scalars(workdir)[tag] == (newest, pytest.approx(value["nll_is50_nats"]))


@pytest.mark.long
@pytest.mark.processes
def test_four_replicas_agree_with_one(workdir, tmp_path):
    """In the distances of features too, of which rounding leaves fewer digits: they are small differences."""
    frozen_nets.save(tmp_path / "net.keras", tiny_runs.SHAPE)
    settings = [
        "evaluate.num_samples = (1, 25)",
        "evaluate.metrics = [@ReconstructionQuality(), @FrechetDistance(), @KernelDistance()]",
        "FrechetDistance.net = @FeatureNet()",
        "KernelDistance.net = @FeatureNet()",
        f"FeatureNet.file = '{tmp_path}/net.keras'",
    ]
    assert run_evaluate(workdir, *settings) == 0
    one = report(workdir)
    # The number of the images is no multiple of four.
    flags = [f"--gin_param={setting}" for setting in [*settings, "evaluate.batch_size = 8"]]
    flags += [f"--workdir={workdir}", "--virtual_devices=4"]
    finished = Command("launch.evaluate", flags, workdir).finish()
    assert finished.code == 0, finished.error
    four = report(workdir)
    assert (one["num_replicas"], four["num_replicas"]) == (1, 4)
    distances = {name for name in one["metrics"] if name[1:4] in ("fid", "kid")}
    assert {name[:4] for name in distances} == {"rfid", "gfid", "rkid", "gkid"}
    for name, value in one["metrics"].items():
        tolerance = {"rel": 1e-3, "abs": 1e-6} if name in distances else {"rel": 1e-5}
        assert four["metrics"][name] == pytest.approx(value, **tolerance), name
    assert four["metrics"].keys() == one["metrics"].keys()


@pytest.mark.long
def test_the_training_split_without_likelihood(workdir):
    settings = ("evaluate.split = 'train'", "evaluate.num_samples = []", "evaluate.metrics = []")
    assert run_evaluate(workdir, *settings, flags=["--checkpoint=last"]) == 0
    found = report(workdir, "evaluation_train.json")
    assert (found["num_examples"], found["step"]) == (40, 20)
    names = {f"{name}[dynamic]" for name in STANDARD if not name.startswith("reconstruction_")}
    assert found["metrics"].keys() == names | {"reconstruction_loss_nats[dynamic]"}


def test_distances_of_features(workdir, tmp_path, capsys):
    frozen_nets.save(tmp_path / "net.keras", tiny_runs.SHAPE)
    digest = hashlib.sha256((tmp_path / "net.keras").read_bytes()).hexdigest()
    settings = [
        "evaluate.num_samples = []",
        "evaluate.metrics = [@FrechetDistance(), @KernelDistance()]",
        "FrechetDistance.net = @FeatureNet()",
        "FrechetDistance.of = ['reconstructions', 'samples']",
        "KernelDistance.net = @FeatureNet()",
        "KernelDistance.of = 'samples'",
        "KernelDistance.num_samples = 20",
        f"FeatureNet.file = '{tmp_path}/net.keras'",
    ]
    assert run_evaluate(workdir, *settings) == 0
    found = report(workdir)
    key = f"dynamic,net={digest[:12]}"
    distances = {f"rfid[{key}]", f"gfid[{key}]", f"gkid[{key},samples=20]"}
    assert distances <= found["metrics"].keys()
    assert [each["sha256"] for each in found["feature_nets"]] == [digest]
    assert f"gfid[{key}]" in capsys.readouterr().out
    assert f"evaluate/gfid[{key}]" in scalars(workdir)


@pytest.mark.long
def test_some_examples_spread_over_the_split(workdir, tmp_path, capsys):
    """They give the figures of a split that has only them."""
    quick = ("evaluate.num_samples = 2", "evaluate.metrics = []")
    assert run_evaluate(workdir, "evaluate.num_examples = 5", *quick) == 0
    assert "5 of 11 images of Arrays" in capsys.readouterr().err
    found = report(workdir)
    assert "evaluate.num_examples = 5" in found.pop("configuration")
    assert found["num_examples"] == found["mutual_information_examples"] == 5
    with np.load(workdir.parent / "data" / "evaluation.npz") as data:
        np.savez(tmp_path / "some.npz", images=data["images"][[0, 2, 5, 7, 10]])
    assert run_evaluate(workdir, f"Arrays.evaluation = '{tmp_path}/some.npz'", *quick) == 0
    of_these = report(workdir)
    of_these.pop("configuration")
    assert of_these == found


@pytest.mark.long
def test_other_data_by_override(workdir, tmp_path):
    trained_runs.write_data(tmp_path, num_evaluation=5)
    assert (
        run_evaluate(workdir, f"Arrays.evaluation = '{tmp_path}/evaluation.npz'", "evaluate.num_samples = 1")
        == 0
    )
    assert report(workdir)["num_examples"] == 5


def test_another_dataset_by_override(workdir, capsys):
    """The folder's own settings of its dataset are then not read, which is not an error."""
    assert run_evaluate(workdir, "train.dataset = @RenderedSprites()") == 2
    error = capsys.readouterr().err
    assert "takes images of 8 x 8 x 1, those of RenderedSprites are of 64 x 64 x 1" in error


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("evaluate.num_samples = 0", "`evaluate.num_samples` must be a positive integer, got 0"),
        ("evaluate.num_samples = (1, -5)", "must be a positive integer, got -5"),
        ("evaluate.num_samples = 'all'", "must be a list of positive integers, got 'all'"),
        ("evaluate.split = 'test'", "'evaluation'"),
        ("evaluate.metrics = @ReconstructionQuality()", "must be a list of Metrics"),
        ("evaluate.metrics = [@FrechetDistance()]", "`FrechetDistance.net` must be given"),
        ("evaluate.num_examples = 0", "`evaluate.num_examples` must be a positive integer, got 0"),
        ("evaluate.batch_size = 0", "must be a positive integer, got 0"),
        ("evaluate.checkpoint = 'last'", "use the flag --checkpoint"),
        ("evaluate.num_sample = 5", "did you mean 'num_samples'"),
    ],
)
def test_bad_settings(workdir, capsys, parameter, message):
    before = (workdir / "evaluation.json").stat().st_mtime_ns if (workdir / "evaluation.json").exists() else 0
    assert run_evaluate(workdir, parameter) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    if before:
        assert (workdir / "evaluation.json").stat().st_mtime_ns == before


def test_without_a_folder(capsys, tmp_path):
    assert command_line.main(evaluate.COMMAND, []) == 2
    assert "give --workdir=<the folder of a run>" in capsys.readouterr().err
    assert run_evaluate(tmp_path / "nowhere") == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_a_checkpoint_alone_names_the_folder(workdir):
    arguments = [f"--checkpoint={workdir}/checkpoints/step-00000010"]
    arguments += ["--gin_param=evaluate.num_samples = []"]
    with tiny_runs.configuration_of_its_own():
        assert command_line.main(evaluate.COMMAND, arguments) == 0
    assert report(workdir)["step"] == 10


@pytest.mark.parametrize(("estimate", "saturated"), [(9.08, True), (8.3, True), (8.1, False), (2.0, False)])
def test_an_estimate_at_its_ceiling_is_said_to_be_saturated(estimate, saturated):
    """9.08 nats of 10,000 images are no property of the model: ln 10,000 = 9.21 is the most there can be."""
    found = {
        "binarization": "none",
        "mutual_information_examples": 10_000,
        "mutual_information_ceiling_nats": math.log(10_000),
        "metrics": {"mutual_information_nats[none]": estimate},
    }
    said = "is saturated: from 10,000 images the estimate is at most ln 10,000 = 9.2103"
    assert (said in "".join(_remarks(found))) == saturated
