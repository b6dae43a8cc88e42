"""The example plug-in trains, found through its entry points and without an edit of vaeflow."""

import json
import os
import tomllib

import pytest

from tests.fixtures.commands import REPOSITORY, Command

pytestmark = [pytest.mark.processes, pytest.mark.slow]

PLUGIN = REPOSITORY / "examples" / "plugin"


def announce(folder):
    """Writes what installing the package would: its entry points, on the path beside it."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    points = project["entry-points"]["vaeflow.plugins"]
    information = folder / "vaeflow_example-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: vaeflow-example\nVersion: 0.1.0\n")
    lines = [f"{name} = {module}" for name, module in points.items()]
    (information / "entry_points.txt").write_text("\n".join(["[vaeflow.plugins]", *lines]))


def test_the_example_trains(tmp_path):
    installed = tmp_path / "installed"  # Metadata in the current folder would announce nothing.
    installed.mkdir()
    announce(installed)
    smaller = [
        "train.num_steps = 2",
        "train.batch_size = 8",
        "train.callbacks = []",
        "train.compile_mode = 'none'",
        "RenderedSprites.num_evaluation = 8",
        "GatedEncoder.units = (8, 4)",
    ]
    flags = ["--workdir=run", f"--gin_file={PLUGIN}/gated_vae.gin"]
    flags += [f"--gin_param={statement}" for statement in smaller]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, [REPOSITORY, PLUGIN, installed]))}
    finished = Command("launch.train", flags, tmp_path, paths).finish()
    assert finished.code == 0, finished.error
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert metrics["step"] == 2
    assert metrics["train/block_losses"] > 0
    expected = (
        metrics["train/reconstruction_loss"]
        + metrics["train/kl"]
        + 0.1 * metrics["train/code_size"]
        + metrics["train/block_losses"]
    )
    assert abs(metrics["train/loss"] - expected) < 1e-4 * expected
