"""TensorBoard reads the event files back."""

import json
import re

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from tests.fixtures import tiny_runs
from vaeflow import config
from vaeflow.callbacks import Checkpoints, Evaluation, Summaries
from vaeflow.callbacks.tensorboard_tags import layout, meaning_of, tag_of

CONFIGURATION = [
    "train.model = @VAE",
    "train.dataset = @RenderedSprites()",
    "train.optimizer = @Adam",
    "train.num_steps = 20",
    "train.batch_size = 8",
    "train.precision = 'float32'",
    "train.callbacks = [@Summaries(), @Checkpoints()]",
    "Checkpoints.every_steps = 10",
    "Adam.learning_rate = 0.001",
    "VAE.encoder = @DenseEncoder()",
    "VAE.kl_weight = @LinearSchedule()",
    "DenseEncoder.units = (8, 4)",
]


@pytest.fixture
def configured():
    """The text of a configuration in force, which the test's run shows."""
    with tiny_runs.configuration_of_its_own():
        yield config.load("train", parameters=CONFIGURATION).text


def events(folder):
    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder):
    """Tag -> step -> value."""
    accumulator = events(folder)
    found = {}
    for tag in accumulator.Tags()["tensors"]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            values = {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in accumulator.Tensors(tag)}
            found[tag] = values
    return found


def text(folder, tag):
    accumulator = events(folder)
    assert accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "text"
    return accumulator.Tensors(tag)[0].tensor_proto.string_val[0].decode()


@pytest.mark.slow
def test_scalars_have_the_keys_and_values_of_the_metrics(tmp_path):
    tiny_runs.train(tmp_path, callbacks=[Evaluation(10), Summaries()])
    shown = scalars(tmp_path)
    for line in tiny_runs.metrics_lines(tmp_path):
        for name in line.keys() - {"step", "examples_seen", "wall_seconds"}:
            assert shown[tag_of(name)].pop(line["step"]) == pytest.approx(line[name], rel=1e-6), name
    # And nothing else.
    assert not any(shown.values())


@pytest.mark.slow
def test_of_many_latents_one_histogram_takes_the_place_of_the_scalars(tmp_path):
    with tiny_runs.untraced():
        settings = {"num_steps": 2, "steps_per_loop": 2, "model": lambda: tiny_runs.model(3)}
        tiny_runs.train(tmp_path, callbacks=[Evaluation(2), Summaries(max_latents=2)], **settings)
    (line,) = tiny_runs.metrics_lines(tmp_path)
    shown = events(tmp_path)
    assert not [tag for tag in shown.Tags()["tensors"] if tag.startswith("kl_of_each_latent/evaluation/")]
    buckets = tf.make_ndarray(shown.Tensors("kl_of_each_latent/evaluation")[0].tensor_proto)
    assert buckets[:, 2].sum() == 3
    values = [line[f"evaluation/kl_per_dimension/{unit:02d}"] for unit in range(3)]
    assert buckets[0, 0] == pytest.approx(min(values))
    assert "nats" in shown.SummaryMetadata("evaluation/kl").summary_description


@pytest.mark.slow
def test_the_page_of_charts_shows_what_was_measured_and_nothing_else(tmp_path):
    with tiny_runs.untraced():
        settings = {"num_steps": 4, "steps_per_loop": 2}
        tiny_runs.train(tmp_path, callbacks=[Evaluation(4), Summaries()], **settings)
    layouts = events(tmp_path).Tensors(custom_scalars.CONFIG_SUMMARY_TAG)
    assert [event.step for event in layouts] == [2, 4]  # The evaluation adds to it; the page reads the last.
    arranged = layout_pb2.Layout.FromString(layouts[-1].tensor_proto.string_val[0])
    titles = {category.title: [chart.title for chart in category.chart] for category in arranged.category}
    assert list(titles) == ["Is it learning?", "Is it collapsing?", "Is it fast?"]
    assert titles["Is it collapsing?"] == ["KL, nats per image", "active units", "KL of each latent, nats"]
    tags = scalars(tmp_path)
    for category in arranged.category:
        for chart in category.chart:
            (pattern,) = chart.multiline.tag
            assert any(re.match(pattern, tag) for tag in tags), chart.title


def test_the_charts_of_codes_and_terms():
    names = ["train/loss", "train/mmd", "train/mmd_weight", "validation/codes/perplexity", "train/codes/dead"]
    arranged = layout(map(tag_of, names))
    charts = {chart.title: chart.multiline.tag[0] for each in arranged.category for chart in each.chart}
    assert charts["terms of the objective"] == "train/(mmd)$"
    assert charts.keys() == {
        "loss",
        "terms of the objective",
        "weights of the terms",
        "perplexity of the codes",
        "dead codes",
    }


@pytest.mark.parametrize(
    ("name", "tag", "meaning"),
    [
        ("train/kl", "train/kl", "in nats for each image"),
        ("train/kl_weight", "train/kl_weight", "counts in the loss"),
        ("train/discriminator_learning_rate", "train/discriminator_learning_rate", "updates"),
        ("examples_per_second", "speed/examples_per_second", "Images for each second"),
        ("train/input_wait_fraction", "speed/input_wait_fraction", "0 to 1"),
        ("validation/kl_per_dimension/03", "kl_of_each_latent/validation/03", "of this latent in nats"),
        ("validation/kl_per_dimension/top/03", "kl_of_each_latent/validation/top/03", "in nats"),
        ("evaluation/reconstruction_psnr_db", "evaluation/reconstruction_psnr_db", "Decibels"),
    ],
)
def test_each_metric_has_a_group_and_a_meaning(name, tag, meaning):
    assert tag_of(name) == tag
    assert meaning in meaning_of(name)


@pytest.mark.slow
def test_a_cadence(tmp_path):
    tiny_runs.train(tmp_path, num_steps=25, callbacks=[Summaries(10)])
    assert list(scalars(tmp_path)["train/loss"]) == [10, 20, 25]


@pytest.mark.slow
def test_the_configuration_and_the_run_as_text(tmp_path, configured):
    tiny_runs.train(tmp_path, callbacks=[Summaries()])
    shown = text(tmp_path, "configuration").splitlines()
    # Indented by four, Markdown leaves a line as it is.
    assert [line[4:] for line in shown if line.startswith("    ")] == configured.splitlines()
    others = [line for line in shown if line and not line.startswith("    ")]
    bound = [line.partition(".")[0] for line in configured.splitlines() if " = " in line]
    assert others == [f"#### {name}" for name in dict.fromkeys(bound)]
    assert "#### DenseEncoder" in others
    table = text(tmp_path, "run")
    environment = json.loads((tmp_path / "environment.json").read_text())
    for name in ("model", "data", "devices", "batch", "compile mode"):
        assert f"| {name} | {environment[name]} |" in table


def session(folder):
    content = events(folder).SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info


@pytest.mark.slow
def test_hyperparameters(tmp_path, configured):
    tiny_runs.train(tmp_path, callbacks=[Summaries()])
    values = session(tmp_path).hparams
    assert {name: values[name].number_value or values[name].string_value for name in values} == {
        "Adam.learning_rate": 0.001,
        "VAE.encoder": "@DenseEncoder()",
        "VAE.kl_weight": "@LinearSchedule()",
        "train.batch_size": 8,
        "train.dataset": "@RenderedSprites()",
        "train.model": "@VAE",
        "train.num_steps": 20,
        "train.optimizer": "@Adam",
        "train.precision": "float32",
    }


@pytest.mark.long
@pytest.mark.slow
def test_the_hyperparameters_are_those_of_the_newest_session(tmp_path, configured):
    """TensorBoard shows the first that it finds: those of before `--allow_config_change`."""
    settings = {"callbacks": [Summaries(), Checkpoints(5)]}
    tiny_runs.train(tmp_path, num_steps=5, **settings)
    config.load("train", parameters=[*CONFIGURATION, "Adam.learning_rate = 0.5"])
    tiny_runs.train(tmp_path, num_steps=10, allow_config_change=True, **settings)
    assert session(tmp_path).hparams["Adam.learning_rate"].number_value == 0.5


@pytest.mark.long
def test_two_runs_of_one_folder_name_are_two_trials(tmp_path):
    for name in "ab":
        tiny_runs.train(tmp_path / name / "run", num_steps=5, callbacks=[Summaries()])
    first, second = (session(tmp_path / name / "run").group_name for name in "ab")
    assert first.startswith("run ")
    assert first != second


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_the_same_folder(tmp_path):
    settings = {"callbacks": [Summaries(), Checkpoints(5)]}
    tiny_runs.train(tmp_path, num_steps=10, **settings)
    tiny_runs.train(tmp_path, num_steps=20, **settings)
    assert len(list((tmp_path / "tensorboard").glob("*.v2"))) == 2
    assert list(scalars(tmp_path)["train/loss"]) == [5, 10, 15, 20]


@pytest.mark.long
@pytest.mark.parametrize("step", [4, 8])
def test_what_a_killed_run_wrote_after_its_last_checkpoint_is_forgotten(tmp_path, step):
    """Without the start of a session, steps up to `step` are there twice."""
    settings = {"steps_per_loop": 2, "num_steps": 12}
    with pytest.raises(KeyboardInterrupt):
        tiny_runs.train(tmp_path, callbacks=[Summaries(), Checkpoints(6), tiny_runs.Break(step)], **settings)
    tiny_runs.train(tmp_path, callbacks=[Summaries(), Checkpoints(6)], **settings)
    # What the page itself reads with.
    accumulator = plugin_event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    losses = accumulator.Tensors("train/loss")
    assert [event.step for event in losses] == [2, 4, 6, 8, 10, 12]
    written = [line["train/loss"] for line in tiny_runs.metrics_lines(tmp_path)]
    assert [float(tf.make_ndarray(event.tensor_proto)) for event in losses] == pytest.approx(written)
    assert accumulator.Tensors("configuration")
    assert accumulator.Tensors("run")
