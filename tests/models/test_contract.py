"""What every registered model with latents must do; test_replicas.py compares 1, 2 and 4 replicas of each.

The checks of a model without latents are in its own file.
"""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import numpy_hierarchy, small_codes, small_gans, small_maps, tiny_runs
from tests.fixtures.noted_calls import note_batch_sizes
from vaeflow import registry, testing
from vaeflow.datasets import InMemorySplit, stored_batches
from vaeflow.devices import cores
from vaeflow.models import VAE, VAEGAN, VQGAN, VQVAE, AutoencoderKL, HierarchicalVAE, LatentModel
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

registry.load_builtins()
MODELS = {
    entry.name: entry.target
    for entry in registry.entries("model")
    if entry.package == "vaeflow" and issubclass(entry.target, LatentModel)
}
SHAPE = (8, 7, 2)

# Settings that are too large for a test by default.
SMALL = {"discriminator_units": (16, 8)}
NEEDED = {"num_classes": 3}


# One of each kind: an ELBO, a convolutional net, groups of parameters, no ELBO. The own tests of the others
# stand for them in the default suite, where these would take too long.
BY_DEFAULT = {"VAE", "ConvVAE", "FactorVAE", "WAE"}
# Of the other kinds: groups of parameters, and codes.
OTHERS = ("FactorVAE", "VQVAE")

# Those whose default blocks are large, or not for images of 8x7.
BLOCKS = {
    VQGAN: small_codes.adversarial_blocks,
    VQVAE: small_codes.blocks,
    AutoencoderKL: small_maps.blocks,
    HierarchicalVAE: numpy_hierarchy.blocks,
    VAEGAN: small_gans.blocks,
}

# How many rows an example has in training: one for each class, or image of a pair.
NUM_ROWS = {"M2": 3, "AdaGVAE": 2}


@pytest.fixture(
    params=[
        name
        if name in BY_DEFAULT
        else pytest.param(
            name, marks=pytest.mark.tokenizers if name == "AutoencoderKL" else pytest.mark.families
        )
        for name in MODELS
    ],
    scope="module",
)
def kind(request):
    return MODELS[request.param]


@pytest.fixture(scope="module")
def small(kind):
    return maker_of_small(kind)


def maker_of_small(kind):
    """Returns what makes a model; arguments as for its class."""
    chosen = known_to(kind, SMALL | NEEDED)
    blocks = next((BLOCKS[each] for each in BLOCKS if issubclass(kind, each)), lambda _: {})
    return lambda **arguments: kind(
        **{"num_latents": 3} | chosen | blocks(arguments.get("dtype")) | arguments
    )


@pytest.fixture(scope="module")
def make(kind):
    """Makes a model with its own defaults; arguments as for its class."""
    return lambda **arguments: kind(**known_to(kind, NEEDED) | arguments)


def known_to(kind, settings):
    """Those of some settings that a class takes."""
    return {name: value for name, value in settings.items() if name in registry.constructor_parameters(kind)}


@pytest.fixture(scope="module")
def labels(kind):
    """The labels of five images as the arguments of a method; none for a model that reads none."""
    return {"labels": np.array([0, 1, 2, 1, 0])} if "labels" in kind.reads else {}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((5, *SHAPE)).astype(np.float32)


@pytest.fixture
def model(small):
    model = small()
    model.build((None, *SHAPE))
    return model


def check_name(check):
    return check.__name__.removeprefix("check_")


# They take half of the time of all, and depend on the kind of a model more than on the model.
LONG = (testing.check_fit, testing.check_resume)
CHECKS = [
    pytest.param(check, marks=pytest.mark.matrix) if check in LONG else check for check in testing.CHECKS
]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=check_name)
def test_contract(small, check):
    # test_replicas.py trains each model traced.
    resumes = check is testing.check_resume
    with tiny_runs.untraced() if resumes else contextlib.nullcontext():
        check(small, SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("check", LONG, ids=check_name)
@pytest.mark.parametrize(
    "name", ["VAE", *(pytest.param(name, marks=pytest.mark.families) for name in OTHERS)]
)
def test_a_model_of_each_kind_fits_and_resumes(name, check):
    check(maker_of_small(MODELS[name]), SHAPE)


@pytest.mark.families
def test_parts_for_the_cores_give_the_gradients_of_the_whole_batch(kind, small, monkeypatch):
    keras.utils.set_random_seed(0)
    model = small(dtype="float64")
    if getattr(model, "num_examples", 0) is None:
        model.num_examples = 1000
    model.build((None, *SHAPE))
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (12, *SHAPE)), tf.uint8)
    batch = {"images": pixels} | ({"labels": tf.range(12)[:, None] % 3} if model.reads else {})
    split = InMemorySplit(pixels.numpy(), batch["labels"].numpy() if model.reads else None)
    step = ReplicaStep(model, keras.optimizers.SGD(0.1), split, TrainingSettings(batch_size=12))
    whole = step.compute(stored_batches.StoredBatch(batch), 3)
    step.use_cores(3, step.probe(batch))
    monkeypatch.setattr(cores, "operations_at_a_time", lambda: 2)
    sizes = note_batch_sizes(model.encoder)
    cut = step.compute(stored_batches.StoredBatch(batch), 3)
    # Once where one trace serves all parts.
    assert set(sizes) == {4 * NUM_ROWS.get(kind.__name__, 1)}
    for one, other in zip(*map(tf.nest.flatten, (cut.gradients, whole.gradients)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-11)
    assert cut.metrics.keys() == whole.metrics.keys()
    for name, value in whole.metrics.items():
        assert float(cut.metrics[name]) == pytest.approx(float(value), rel=1e-11, abs=1e-11), name


def test_encode_decode_sample_and_call(model, images, labels):
    encoded = model.encode(images, **labels)
    groups = encoded if isinstance(encoded, dict) else {model.sole_group: encoded}
    first = next(iter(groups.values()))
    # 8x7 images become maps of 2x2, or of 8x7 with one stage.
    small = (5, 2, 2, 3)
    maps = {VQGAN: small, VQVAE: small, HierarchicalVAE: small, AutoencoderKL: (5, 8, 7, 3)}
    assert first.center.shape == next((maps[each] for each in maps if isinstance(model, each)), (5, 3))
    centers = {name: posterior.center for name, posterior in groups.items()}
    reconstruction = model.decode(centers if isinstance(encoded, dict) else first.center, **labels)
    assert reconstruction.mean.shape == images.shape
    assert reconstruction.log_prob(images).shape == (5,)
    np.testing.assert_array_equal(model({"images": images, **labels}), reconstruction.mean)
    assert model.sample(5, **labels).shape == (5, *SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16"])
def test_precision_reaches_every_layer_also_after_loading(small, images, labels, tmp_path, policy):
    """Given as an argument; `check_terms` gives it by Keras' global policy."""
    model = small(dtype=policy)
    model.build((None, *SHAPE))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")

    expected = "float64" if policy == "float64" else "float32"
    compute = "float64" if policy == "float64" else "bfloat16"
    for made in (model, again):
        assert {variable.dtype for variable in made.variables} == {expected}
        # The KL is sensitive to the log variance: not in bfloat16.
        has_posterior = hasattr(made, "posterior")
        for block in (made.encoder, *([made.decoder] if has_posterior else [])):
            assert {layer.compute_dtype for layer in block._flatten_layers()} == {compute}
        if has_posterior:  # A hierarchy has those of p and q in its decoder; its own tests look at them.
            assert {layer.compute_dtype for layer in made.posterior._flatten_layers()} == {expected}
    batch = {"images": images.astype(expected), **labels}
    one, other = (tf.cast(made(batch), tf.float64) for made in (model, again))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(None, 8, 8), (None, 64), (None, 1, 8, 8, 1)])
def test_images_of_another_rank_are_refused(kind, small, shape):
    with pytest.raises(ValueError, match=rf"{kind.__name__} expects images of shape \[B, H, W, C\], got"):
        small().build(shape)


@pytest.mark.parametrize("num_latents", [0, -3, 2.5, "10", None, True])
def test_the_number_of_latents_must_be_a_positive_integer(kind, make, num_latents):
    with pytest.raises(ValueError, match=f"`{kind.__name__}.num_latents` must be a positive integer, got"):
        make(num_latents=num_latents)


@pytest.mark.parametrize("role", ["encoder", "decoder", "likelihood", "prior"])
def test_a_block_that_is_not_made_yet_is_refused(kind, make, role):
    """As `VAE.encoder = @DenseEncoder` gives it, without the parentheses."""
    if role not in registry.constructor_parameters(kind):
        pytest.skip(f"a {kind.__name__} has no {role}")
    with pytest.raises(ValueError, match=rf"`{kind.__name__}.{role}` must be a Keras layer,.*parentheses"):
        make(**{role: keras.layers.Dense})


@pytest.mark.parametrize(
    ("setting", "value"), [("kl_weight", -1), ("free_bits", -0.1), ("free_bits", "1"), ("scope", "local")]
)
def test_a_faulty_setting_is_refused(kind, make, setting, value):
    with pytest.raises(ValueError, match=f"`{kind.__name__}.{setting}` must be"):
        make(**{setting: value})


def test_the_base_class_is_among_them():
    assert MODELS["VAE"] is VAE
    assert len(MODELS) > 2
