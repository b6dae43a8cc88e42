"""Every gin file in configs/: its header, that it is accepted as it is, and that it trains."""

import math
import pathlib
import re
import struct

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import code_prior_runs, latent_prior_runs, tiny_runs, trained_runs
from vaeflow import config

REPOSITORY = pathlib.Path(__file__).parents[1]
FILES = sorted((REPOSITORY / "configs").rglob("*.gin"))
NAMES = [path.relative_to(REPOSITORY / "configs").as_posix() for path in FILES]


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def idx_files(folder):
    random = np.random.RandomState(0)
    for prefix, count in (("train", 20), ("t10k", 6)):
        images = random.randint(0, 256, (count, 28, 28)).astype(np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)
    return folder


def png_files(folder):
    random = np.random.RandomState(0)
    for number in range(24):
        pixels = random.randint(0, 256, (20 + number, 40, 3)).astype(np.uint8)
        tf.io.write_file(f"{folder}/{number}.png", tf.io.encode_png(pixels))
    return folder


# What gives each dataset a few examples that need no download.
DATA = {
    "MNIST": lambda folder: f"MNIST.folder = '{idx_files(folder)}'",
    "FashionMNIST": lambda folder: f"FashionMNIST.folder = '{idx_files(folder)}'",
    "ImageFolder": lambda folder: f"ImageFolder.folder = '{png_files(folder)}'",
    # The largest patches are the fewest.
    "Photographs": lambda folder: "Photographs.image_size = 128",
    # Enough to be accepted; `test_it_trains` has codes in it.
    "Codes": lambda folder: f"Codes.folder = '{folder}'",
    "ScikitLearnTable": lambda folder: "ScikitLearnTable.evaluation_fraction = 0.05",
    "Latents": lambda folder: f"Latents.folder = '{folder}'",
    "RenderedSprites": lambda folder: "RenderedSprites.num_evaluation = 6",
    "SpritePairs": lambda folder: "SpritePairs.num_evaluation = 6",
}


@pytest.fixture(autouse=True)
def configuration_is_forgotten():
    with tiny_runs.configuration_of_its_own():
        yield


@pytest.fixture
def data(request, tmp_path):
    """The statement that gives a gin file's dataset a few examples."""
    text = request.getfixturevalue("path").read_text()
    (dataset,) = re.findall(r"^train\.dataset = @(\w+)\(\)", text, re.MULTILINE)
    folder = tmp_path / "data"
    folder.mkdir()
    return DATA[dataset](folder)


@pytest.fixture(params=FILES, ids=NAMES)
def path(request):
    return request.param


# One of each kind: an ELBO, none, groups of parameters. The families' part of the suite trains the
# others, whose models the default part trains in tests of their own.
BY_DEFAULT = {"factor_vae", "vae", "wae"}
LARGEST = {"autoencoder_kl", "hierarchical_vae", "vae_gan", "vqgan"}
# Of those with latents: a deterministic encoder has none.
WITHOUT_ELBO = {"adversarial_autoencoder.gin", "rae.gin", "swae.gin", "wae.gin"}
TRAINED = [
    pytest.param(path, marks=pytest.mark.tokenizers if path.stem in LARGEST
                 else () if path.stem in BY_DEFAULT else pytest.mark.families) for path in FILES
]  # fmt: skip


# Gin files of models without latents -> what their evaluation measures.
WITHOUT_LATENTS = {"code_prior.gin": "negative_log_likelihood", "diffusion_prior.gin": "noise_loss"}


def test_there_are_some():
    assert {"vae.gin", "conv_vae.gin", "beta_vae.gin"} <= set(NAMES)


def test_the_header_says_what_it_is(path):
    header = re.match(r"(#.*\n)+", path.read_text())
    assert header, "it begins with a comment"
    lines = [line.removeprefix("#").strip() for line in header[0].splitlines()]
    prose = " ".join(lines)
    assert len(lines[0]) > 20, "the first line says what it is"
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|\(ICLR", prose), "it cites the paper"
    name = path.relative_to(REPOSITORY).as_posix().removeprefix("configs/")
    assert f"vaeflow train --gin_file={name}" in prose, "it shows the command"
    assert re.search(r"\b(second|minute|hour|day)s?\b", prose), "it says how long it takes"
    assert not re.search(r"[A-Z]+_[A-Z]+", prose), "nothing is left to be filled in"
    assert max(map(len, path.read_text().splitlines())) <= 110


def test_it_is_accepted_as_it_is(path, data):
    configuration = config.load("train", [str(path)], [data])
    assert configuration.warnings == ()


@pytest.mark.slow
@pytest.mark.parametrize("path", TRAINED, indirect=True, ids=NAMES)
def test_it_trains(path, data, tmp_path):
    if "@Codes()" in path.read_text():
        data = f"Codes.folder = '{code_prior_runs.codes_of_photographs(tmp_path)}'"
    if "@Latents()" in path.read_text():
        trained_runs.write_data(tmp_path / "images", num_labels=2)
        autoencoder = latent_prior_runs.autoencoder(tmp_path, tmp_path / "images")
        data = f"Latents.folder = '{autoencoder}/encoded'"
    settings = {
        "train.num_steps": 2,
        "train.batch_size": 4,
        "train.steps_per_loop": 1,
        "train.compile_mode": "'none'",
    }
    configuration = config.load("train", [str(path)], [data])
    cadences = [
        f"{binding.name}.{binding.parameter}" for binding in configuration.bindings
        if binding.parameter == "every_steps"
    ]  # fmt: skip
    settings |= dict.fromkeys(cadences, 2)
    if "MNIST.num_labelled" in path.read_text():  # Of 20 images.
        settings["MNIST.num_labelled"] = 10
    if "@Images()" in path.read_text():
        settings |= {"Images.num_examples": 2, "Images.max_traversals": 1}
    changes = [f"{name} = {value}" for name, value in settings.items()]
    config.load("train", [str(path)], [data, *changes])
    with tiny_runs.untraced():  # test_replicas.py, test_contract.py and test_resnet.py trace these nets.
        result = config.call("train", workdir=tmp_path / "run")
    assert result["step"] == 2
    assert math.isfinite(result["train/loss"])
    pictures = {"images"} if "@Images()" in path.read_text() else set()
    if path.name in WITHOUT_LATENTS:  # And without pictures.
        assert math.isfinite(result[f"evaluation/{WITHOUT_LATENTS[path.name]}"])
        assert "evaluation/reconstruction_loss" not in result
        pictures = set()
    else:
        assert math.isfinite(result["evaluation/reconstruction_loss"])
    assert ("evaluation/negative_elbo" in result) == (path.name not in WITHOUT_ELBO | {*WITHOUT_LATENTS})
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"checkpoints", "tensorboard"} | pictures
