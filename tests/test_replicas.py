"""The trajectory does not depend on the number of replicas, nor on what XLA compiles."""

import numpy as np
import pytest

from tests.fixtures import small_codes
from tests.fixtures.commands import REPOSITORY, Command
from tests.fixtures.run_replicas import OF_EACH_KIND
from vaeflow import registry

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]

COUNTS = (1, 2, 4)
# Of a dense VAE, and of a hierarchy of latents.
LABELS = ("", "ladder, ")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return on_each_number(tmp_path_factory.mktemp("replicas"), "some")


def on_each_number(folder, cases):
    """What fixtures/run_replicas.py wrote: number of replicas -> name -> array."""
    running = {}
    for count in COUNTS:  # Side by side: most of the time goes into tracing, on one core.
        arguments = [count, folder / f"{count}.npz", cases]
        running[count] = Command("tests.fixtures.run_replicas", arguments, REPOSITORY)
    found = {}
    for count, process in running.items():
        finished = process.finish(seconds=3600)
        assert finished.code == 0, finished.error[-5000:]
        with np.load(folder / f"{count}.npz") as arrays:
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


def registered():
    registry.load_builtins()
    return {entry.name for entry in registry.entries("model") if entry.package == "vaeflow"}


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("name", sorted(OF_EACH_KIND))
def test_a_model_of_each_kind(results, name, count):
    assert_agree(results, name, count, 1e-9)


@pytest.mark.matrix
def test_every_registered_model(tmp_path):
    found = on_each_number(tmp_path, "models")
    for name in registered():
        assert_agree(found, name, 2, 1e-9)
        assert_agree(found, name, 4, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("role", ["posterior", "prior"])
def test_flows(results, role, count):
    assert_agree(results, f"flow as {role}", count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
def test_what_xla_compiles_in_a_residual_net(results, count):
    assert_agree(results, "residual", count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
@pytest.mark.parametrize("name", small_codes.OF_EACH_KIND)
def test_quantizers(results, name, count):
    """Whose codes begin anew at vectors of the global batch, and whose evaluation counts each image once."""
    if small_codes.RESTARTING.items() <= small_codes.QUANTIZERS[name]().get_config().items():
        assert results[1][f"quantizer {name}/codes/restarted"] > 0
    for case in ("", ", averaged", ", evaluated"):
        assert_agree(results, f"quantizer {name}{case}", count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
def test_codebooks_that_begin_at_training_images(results, count):
    assert_agree(results, "begun at data", count, 1e-9)
    assert_agree(results, "begun at k-means", count, 1e-9)
    assert difference(*(results[1][f"begun at {each}/start"] for each in ("data", "k-means"))) > 1e-3


@pytest.mark.parametrize("count", COUNTS[1:])
def test_terms_of_the_global_batch_and_losses_of_blocks_under_plain_sgd(results, count):
    assert results[1]["coupled/covariance"] > 1e-3
    assert results[1]["coupled/block_losses"] > 1e-3
    assert_agree(results, "coupled", count, 1e-9)


@pytest.mark.parametrize(("same_batch", "count"), [(False, 2), (False, 4), (True, 2)])
def test_an_adversary_with_its_own_optimizer_and_clipping(results, same_batch, count):
    case = f"FactorVAE {same_batch} global"
    assert results[1][f"{case}/free_bits"] > 1e-3
    assert results[1][f"{case}/discriminator_gradient_norm"] > 0.1  # It is clipped.
    assert_agree(results, case, count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
def test_a_gan_with_an_adaptive_weight_and_a_frozen_net_accumulated(results, count):
    assert results[1]["GAN/adversarial_weight"] > 1.0
    assert results[1]["GAN/lecam"] > 0.0
    assert_agree(results, "GAN", count, 1e-9)


def test_the_scope_of_a_replica_is_its_own_part(results):
    """It differs from the global one where there are several, and is it where there is one."""
    local, whole = (f"FactorVAE False {scope}/weights" for scope in ("replica", "global"))
    np.testing.assert_array_equal(results[1][local], results[1][whole])
    assert difference(results[2][local], results[2][whole]) > 1e-6


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("count", COUNTS[1:])
def test_streamed_data_schedules_clipping_accumulation_and_averages(results, count, label):
    # The average lags behind the weights.
    assert difference(results[1][f"{label}streamed/weights"], results[1][f"{label}averaged/weights"]) > 1e-3
    for case in ("streamed", "averaged"):
        assert_agree(results, label + case, count, 1e-9)


@pytest.mark.parametrize("count", COUNTS[1:])
def test_augmented_images(results, count):
    assert_agree(results, "augmented, resident", count, 1e-9)
    assert_agree(results, "augmented, streamed", count, 1e-9)
    assert difference(*(results[1][f"augmented, {each}/weights"] for each in ("resident", "streamed"))) < 1e-9


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("count", COUNTS[1:])
def test_evaluation(results, count, label):
    assert results[1][f"{label}evaluated/negative_elbo"] > 1
    assert_agree(results, f"{label}evaluated", count, 1e-9)


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


@pytest.mark.parametrize(
    "case",
    [
        "VAE",
        "compiled ConvVAE none",
        "coupled",
        "residual",
        "FactorVAE False global",
        "streamed",
        "ladder, streamed",
        "float32",
    ],
)
def test_the_runs_compared_have_moved(results, case):
    """Weights that nobody trains agree on any number of replicas."""
    assert difference(results[1][f"{case}/start"], results[1][f"{case}/weights"]) > 1e-2
