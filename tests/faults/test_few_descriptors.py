"""Commands that may have few files open at a time."""

import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures.commands import REPOSITORY

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

LIMIT = 24
GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 4
train.batch_size = 8
train.steps_per_loop = 2
Arrays.train = 'images.npy'
Arrays.evaluation = 'held_out.npy'
VAE.num_latents = 2
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
"""
COMMANDS = (
    ("launch.train", "--gin_file=run.gin", "--workdir=run"),
    ("launch.evaluate", "--workdir=run"),
    ("launch.sample", "--workdir=run"),
    ("launch.embed", "--workdir=run"),
    ("launch.encode", "--workdir=run"),
    ("launch.export", "--workdir=run"),
    ("launch.verify", "--workdir=run"),
)


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def test_each_command_does_with_24_descriptors(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (24, 4, 4), np.uint8)
    np.save(tmp_path / "images.npy", images[:16])
    np.save(tmp_path / "held_out.npy", images[16:])
    (tmp_path / "run.gin").write_text(GIN)
    for arguments in COMMANDS:
        finished = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            preexec_fn=limit_descriptors,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == 0, (arguments, finished.stderr[-2000:])
