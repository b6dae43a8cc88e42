"""Fresh processes train every configuration of vaeflow's own to the same bits, at its own batch size.

python -m pytest -m bits -n 2 --dist=load tests/faults/test_equal_bits.py
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.commands import REPOSITORY
from vaeflow.runs import processes

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.bits]

CONFIGURATIONS = sorted(path.name for path in (REPOSITORY / "configs").glob("*.gin"))
NUM_STEPS = {"vae.gin": 200}
FEW_STEPS = 24
# The commands that make what a configuration reads, in the current folder, as its header says.
MADE_BEFORE = {
    "code_prior.gin": (
        ["train", "--gin_file=vq_vae.gin", "--gin_param=train.num_steps = 4"],
        ["encode", "--workdir=runs/vq_vae"],
    ),
    "diffusion_prior.gin": (
        ["train", "--gin_file=autoencoder_kl.gin", "--gin_param=train.num_steps = 4"],
        ["encode", "--workdir=runs/autoencoder_kl", "--gin_param=Photographs.stride = 4"],
    ),
    "two_stage_vae.gin": (
        [
            *["train", "--gin_file=mnist_conv_vae.gin", "--workdir=runs/first_stage"],
            *["--gin_param=train.num_steps = 4", "--gin_param=MNIST.folder = '.'"],
            "--gin_param=ConvVAE.likelihood = @GaussianLikelihood()",
            "--gin_param=GaussianLikelihood.learned = 'scalar'",
            "--gin_param=MNIST.binarization = 'none'",
        ],
        ["encode", "--workdir=runs/first_stage"],
    ),
}
# How many of ten processes train to their end, are stopped and resumed, or train while others take the cores.
NUM_STRAIGHT, NUM_RESUMED, NUM_UNDER_LOAD = 4, 3, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A current folder with data of the sizes at which processes differ without `graph_rewrites.choose`."""
    folder = tmp_path_factory.mktemp("bits")
    generator = np.random.default_rng(0)
    for prefix, count in (("train", 60_000), ("t10k", 100)):
        images = generator.integers(0, 256, (count, 28, 28), np.uint8)
        labels = generator.integers(0, 10, count, np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            shape = np.array(array.shape, ">u4").tobytes()
            header = bytes([0, 0, 8, array.ndim]) + shape
            (folder / f"{prefix}-{name}-ubyte").write_bytes(header + array.tobytes())
    (folder / "pictures").mkdir()
    for number in range(400):
        Image.fromarray(generator.integers(0, 256, (64, 64, 3), np.uint8)).save(
            folder / "pictures" / f"{number}.png"
        )
    return folder


def command(folder, *arguments, pause="0"):
    """Starts a command; processes that are forked from one would share what differs between fresh ones."""
    return subprocess.Popen(
        [sys.executable, "-m", "vaeflow", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PAUSE_SECONDS": pause},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def start(folder, configuration, name, pause="0"):
    """Starts a training, which waits so many seconds after each loop."""
    settings = {
        "train.num_steps": NUM_STEPS.get(configuration, FEW_STEPS),
        "train.steps_per_loop": 4,
        "train.callbacks": "[@Checkpoints(), @Pause()]",
    }
    text = (REPOSITORY / "configs" / configuration).read_text()
    for source in ("MNIST", "FashionMNIST"):
        if f"@{source}()" in text:
            settings[f"{source}.folder"] = "'.'"
    if "@ImageFolder()" in text:
        settings["ImageFolder.folder"] = "'pictures'"
    flags = [f"--gin_param={key} = {value}" for key, value in settings.items()]
    flags += [f"--gin_file={configuration}", f"--workdir={name}", "--plugin=tests.fixtures.pause_plugin"]
    return command(folder, "train", *flags, pause=pause)


@contextlib.contextmanager
def load():
    """Keeps all cores busy."""
    busy = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count()):
            stack.enter_context(processes.child(busy))
        yield


def finish(process):
    """Returns the exit code of a training."""
    return process.wait(timeout=900)


def stop_half_way(process, workdir):
    """Sends SIGTERM after the first loop."""
    deadline = time.monotonic() + 300
    while not (workdir / "metrics.jsonl").exists() or not (workdir / "metrics.jsonl").read_text():
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == 42


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_ten_fresh_processes_end_with_the_same_bits(folder, configuration):
    """Without `graph_rewrites.choose`, vae.gin's differ: five digests in five processes."""
    for arguments in MADE_BEFORE.get(configuration, ()):
        assert finish(command(folder, *arguments)) == 0
    runs = {}  # Name of the work folder -> its process.

    def begin(pause="0"):
        name = f"{configuration.removesuffix('.gin')}-{len(runs)}"
        runs[name] = start(folder, configuration, name, pause)
        return name

    for _ in range(NUM_STRAIGHT):
        assert finish(runs[begin()]) == 0
    for _ in range(NUM_RESUMED):
        name = begin(pause="0.5")
        stop_half_way(runs[name], folder / name)
        assert finish(start(folder, configuration, name)) == 0
    with load():
        under_load = [begin() for _ in range(NUM_UNDER_LOAD)]
        assert [finish(runs[name]) for name in under_load] == [0] * NUM_UNDER_LOAD

    results = {name: json.loads((folder / name / "result.json").read_text()) for name in runs}
    assert len(results) == 10
    assert len({result["weights_sha256"] for result in results.values()}) == 1, results
