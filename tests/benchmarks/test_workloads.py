"""The workloads: each gin file says what the numbers beside it say, and the nets are the same."""

import json
import math
import re

import numpy as np
import pytest

from benchmarks import sprites, targets
from benchmarks.programs import keras_nets
from benchmarks.workloads import WORKLOADS, gin_file
from tests.fixtures import commands, tiny_runs
from vaeflow import config

# Those that differ in the batch only have one net.
NETS = ["dense_128", "conv28_128", "conv64_64", "resnet64_64", "factor64_64"]


def write_arrays(folder, name, count=256):
    """Writes noise where `benchmarks.sprites` would write sprites below a folder."""
    _, side, channels = sprites.ARRAYS[name]
    (folder / sprites.CACHE).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)
    for each in (name, f"{name}_evaluation"):
        np.save(folder / sprites.array_path(each), noise)


def num_parameters(*models):
    return sum(math.prod(variable.shape) for model in models for variable in model.trainable_variables)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads a workload's gin file; returns what `train` would be called with."""

    def load(name):
        write_arrays(tmp_path, WORKLOADS[name].array, count=3)
        monkeypatch.chdir(tmp_path)
        assert config.load("train", [str(gin_file(name))]).warnings == ()
        return config.values_of("train")

    with tiny_runs.configuration_of_its_own():
        yield load


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_gin_file_says_what_the_numbers_say(name, loaded):
    workload, settings = WORKLOADS[name], loaded(name)
    assert settings["batch_size"] == workload.batch_size
    assert settings["steps_per_loop"] == workload.steps_per_call
    assert settings["dataset"].train.path == sprites.array_path(workload.array)
    _, *side_and_channels = sprites.ARRAYS[workload.array]
    assert tuple(side_and_channels) == workload.image_shape
    assert float(settings["optimizer"]().learning_rate) == pytest.approx(workload.learning_rate)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_the_net_has_the_parameters_that_the_header_states_in_keras_too(name, loaded):
    workload, settings = WORKLOADS[name], loaded(name)
    stated = re.search(r"^# ([\d,]+) trainable parameters", gin_file(name).read_text(), re.MULTILINE)
    stated = int(stated[1].replace(",", ""))
    side, channels = workload.image_shape
    model = settings["model"]()
    model.build((None, side, side, channels))
    assert num_parameters(model) == stated
    assert num_parameters(*filter(None, keras_nets.make(workload))) == stated


def test_workloads_of_one_net_state_the_same_number():
    def header(name):
        return gin_file(name).read_text().splitlines()[2]

    assert header("dense_128") == header("dense_512")
    assert header("conv64_64") == header("conv64_256")


@pytest.mark.parametrize("name", WORKLOADS)
def test_no_epoch_ends_with_a_smaller_batch(name):
    assert sprites.ARRAYS[WORKLOADS[name].array][0] % WORKLOADS[name].batch_size == 0


def test_the_sprites_are_whole_and_coloured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sprites, "ARRAYS", {"small": (512, 16, 3)})
    monkeypatch.setattr(sprites, "NUM_EVALUATION", 256)
    sprites.make("small")
    images = np.load(sprites.array_path("small"))
    assert images.shape == (512, 16, 16, 3)
    assert images.dtype == np.uint8
    assert np.load(sprites.array_path("small_evaluation")).shape == (256, 16, 16, 3)
    inside = images.max(axis=-1) > 0
    assert (inside.mean(axis=(1, 2)) > 0.01).all()
    assert inside.mean() < 0.3
    assert len(np.unique(images[inside], axis=0)) > 400, "nearly each has a colour of its own"
    before = sprites.array_path("small").stat().st_mtime_ns
    sprites.make("small")
    assert sprites.array_path("small").stat().st_mtime_ns == before


@pytest.mark.long
@pytest.mark.processes
def test_vaeflow_trains_in_windows_and_resumes(tmp_path):
    """The program of vaeflow from its start to its end, and once more from where it ended."""
    write_arrays(tmp_path, "sprites_28")
    told = tmp_path / "commands"
    arguments = [told, "benchmarks.programs.vaeflow_trainer", "--workload=dense_128", "--folder=run"]
    answers = []
    for lines in ("run 0.01\nend\n", "end\n"):
        told.write_text(lines)
        finished = commands.Command("fed_program", arguments, tmp_path).finish()
        assert finished.code == 0, finished.error
        answers.append([json.loads(line) for line in finished.out.splitlines()])
    started, resumed = answers
    assert [answer["resumed_at"] for answer in started] == [0, 0]
    assert started[0]["parameters"] == 652_824
    # The first step alone, then to the end of its loop.
    assert (started[1]["steps"], started[1]["images"]) == (99, 99 * 128)
    # 2 operations a weight forward, 4 backward, but none for the gradient of the images.
    weights, first = 652_824 - 784 - 400 - 40 - 400, 784 * 400
    assert started[1]["flops_per_step"] == 128 * (6 * weights - 2 * first)
    assert targets.rates(started[1:])[0] > 0
    assert [answer["resumed_at"] for answer in resumed] == [100]
