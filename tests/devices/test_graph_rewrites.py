"""Fresh processes train to the same bits, at a size at which TensorFlow's rewrites differ between them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.fixtures.commands import REPOSITORY

pytestmark = [pytest.mark.processes, pytest.mark.slow]

# vae.gin, and a flow as of iaf_vae.gin. With fewer images, or a smaller net, the digests agree even without
# `graph_rewrites.choose`.
GIN = """
train.model = @VAE
train.dataset = @Arrays()
train.num_steps = 40
train.batch_size = 128
train.callbacks = []
Arrays.train = 'train.npy'
Arrays.evaluation = 'evaluation.npy'
VAE.num_latents = 20
VAE.encoder = @DenseEncoder()
VAE.decoder = @DenseDecoder()
DenseEncoder.units = (400,)
DenseDecoder.units = (400,)
"""
POSTERIORS = {
    "Gaussian": "",
    "IAF": """
VAE.posterior = @IAFPosterior()
IAFPosterior.num_flows = 1
IAFPosterior.hidden_units = (320,)
""",
}
NUM_IMAGES = 60_000
NUM_RUNS = 3


@pytest.fixture
def folder(tmp_path):
    """The current folder of the runs, with the images."""
    generator = np.random.default_rng(0)
    for name, count in (("train", NUM_IMAGES), ("evaluation", 16)):
        np.save(tmp_path / f"{name}.npy", generator.integers(0, 256, (count, 28, 28), np.uint8))
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_fresh_processes_with_one_seed_end_with_the_same_bits(folder, posterior):
    """It fails when `graph_rewrites.choose` does nothing: three times of three, with two digests each time.

    With the IAF it fails with constant folding too: ten digests in ten processes.

    The order of the sums differs from process to process, so the processes are started, not forked.
    """
    (folder / "vae.gin").write_text(GIN + POSTERIORS[posterior])
    command = [sys.executable, "-m", "launch.train", "--gin_file=vae.gin"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    running = [
        subprocess.Popen([*command, f"--workdir=run-{number}"], cwd=folder, env=environment)
        for number in range(NUM_RUNS)
    ]
    for process in running:
        assert process.wait(timeout=200) == 0
    results = [json.loads((folder / f"run-{number}/result.json").read_text()) for number in range(NUM_RUNS)]
    assert len({result["weights_sha256"] for result in results}) == 1
