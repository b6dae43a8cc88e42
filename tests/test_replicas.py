"""The trajectory does not depend on the number of replicas, nor on what XLA compiles."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from vaeflow import registry

REPOSITORY = pathlib.Path(__file__).parent.parent
COUNTS = (1, 2, 4)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What fixtures/run_replicas.py wrote: number of replicas -> name -> array."""
    folder = tmp_path_factory.mktemp("replicas")
    found = {}
    for count in COUNTS:
        path = folder / f"{count}.npz"
        command = [sys.executable, "-m", "tests.fixtures.run_replicas", str(count), str(path)]
        finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr[-5000:]
        with np.load(path) as arrays:
            found[count] = {name: arrays[name] for name in arrays.files}
    return found


def difference(one, other):
    """The largest difference, relative to the largest value."""
    return np.abs(one - other).max() / max(np.abs(one).max(), 1e-300)


def assert_agree(results, case, count, tolerance):
    names = [name for name in results[1] if name.startswith(f"{case}/")]
    assert f"{case}/weights" in names
    for name in names:
        assert difference(results[1][name], results[count][name]) < tolerance, name


@pytest.mark.parametrize("count", COUNTS[1:])
def test_every_registered_model(results, count):
    registry.load_builtins()
    names = {entry.name for entry in registry.entries("model") if entry.package == "vaeflow"}
    assert {"VAE", "BetaVAE", "ConvVAE"} <= names
    for name in names:
        assert_agree(results, name, count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
def test_terms_of_the_global_batch_and_losses_of_blocks_under_plain_sgd(results, count):
    assert results[1]["coupled/covariance"] > 1e-3 and results[1]["coupled/block_losses"] > 1e-3
    assert_agree(results, "coupled", count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
def test_streamed_data_schedules_clipping_accumulation_and_averages(results, count):
    # The average lags behind the weights.
    assert difference(results[1]["streamed/weights"], results[1]["averaged/weights"]) > 1e-3
    for case in ("streamed", "averaged"):
        assert_agree(results, case, count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
def test_evaluation(results, count):
    assert results[1]["evaluated/negative_elbo"] > 1
    assert_agree(results, "evaluated", count, 1e-9)


def test_a_bad_image_on_one_replica_stops_the_step_on_all(results):
    assert np.all(np.isfinite(results[1]["bad image/weights"]))
    assert_agree(results, "bad image", 2, 1e-9)


def test_single_precision(results):
    assert results[1]["float32/weights"].dtype == np.float32
    assert_agree(results, "float32", 2, 1e-3)


@pytest.mark.parametrize("model", ["VAE", "ConvVAE"])
@pytest.mark.parametrize("mode", ["step", "loop"])
def test_compile_modes(results, model, mode):
    plain = results[1][f"compiled {model} none/weights"]
    assert difference(plain, results[1][f"compiled {model} {mode}/weights"]) < 1e-9
    assert results[1][f"compiled {model} {mode}/loss"] == pytest.approx(
        results[1][f"compiled {model} none/loss"], rel=1e-9
    )


@pytest.mark.parametrize("case", ["VAE", "ConvVAE", "coupled", "streamed", "float32"])
def test_the_runs_compared_have_moved(results, case):
    """Weights that nobody trains agree on any number of replicas."""
    assert difference(results[1][f"{case}/start"], results[1][f"{case}/weights"]) > 1e-2
