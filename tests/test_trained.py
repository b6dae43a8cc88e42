"""A model that is read back from its work folder is the model that was trained."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import vaeflow
from tests.fixtures import tiny_runs, trained_runs
from vaeflow import config, trained
from vaeflow.analysis.evaluator import Evaluator
from vaeflow.analysis.examples import Examples
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs.digest import weights_sha256

pytestmark = pytest.mark.slow  # Each test has a trained run.


@pytest.fixture(autouse=True)
def own_configuration():
    with tiny_runs.configuration_of_its_own():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A work folder with checkpoints of steps 10 and 20; tests leave it as it is."""
    return trained_runs.trained_folder(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def damageable(tmp_path):
    return trained_runs.trained_folder(tmp_path)


def restored(workdir, *arguments, parameters=()):
    config.load_trained("train", workdir, parameters=parameters)
    return trained.restore(workdir, *arguments)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def data_file(workdir, step):
    return workdir / "checkpoints" / f"step-{step:08d}" / "variables.data-00000-of-00001"


def set_metric(workdir, step, value):
    path = workdir / "checkpoints" / f"step-{step:08d}" / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["validation/selection_score"] = value
    path.write_text(json.dumps(record))


def test_the_weights_are_those_of_the_run(finished):
    model = vaeflow.load(finished, "last")
    result = json.loads((finished / "result.json").read_text())
    assert weights_sha256(model.weights) == result["weights_sha256"]
    images = tf.zeros((5, *tiny_runs.SHAPE))
    assert model.encode(images).mean.shape == (5, 3)
    assert model.decode(tf.zeros((5, 3))).mean.shape == (5, *tiny_runs.SHAPE)
    assert model.sample(5).shape == (5, *tiny_runs.SHAPE)
    assert model.predict(np.zeros((5, *tiny_runs.SHAPE)), verbose=0).shape == (5, *tiny_runs.SHAPE)


def test_a_model_is_loaded_without_its_data_and_callbacks(damageable):
    shutil.rmtree(damageable.parent / "data")
    path = damageable / "config.gin"
    text = path.read_text()
    path.write_text(text.replace("Checkpoints.every_steps = 10", "Checkpoints.every_steps = 'never'"))
    assert vaeflow.load(damageable).sample(2).shape == (2, *tiny_runs.SHAPE)
    with pytest.raises(ConfigurationError, match=r"`Arrays.train` must be an existing file"):
        restored(damageable)


def test_moving_averages_take_the_place_of_the_weights(tmp_path):
    run = restored(trained_runs.trained_folder(tmp_path, "train.ema_decay = 0.9"), "last")
    plain = json.loads((run.workdir.path / "result.json").read_text())["weights_sha256"]
    assert weights_sha256(run.model.weights) != plain
    # The run evaluates with the averages.
    evaluator = Evaluator(Examples(run.model, run.split(), run.strategy, 8, run.seed))
    assert evaluator.evaluate()["negative_elbo"] == pytest.approx(run.metrics["evaluation/negative_elbo"])


def test_what_is_known_of_the_run(finished):
    run = restored(finished, "10")
    assert (run.step, run.image_shape, run.batch_size, run.seed) == (10, tiny_runs.SHAPE, 8, 0)
    assert run.checkpoint == finished / "checkpoints/step-00000010"
    assert (run.split().num_examples, run.split("train").num_examples) == (11, 40)
    assert "evaluation/negative_elbo" in run.metrics
    assert run.checked_batch_size("embed.batch_size") == 8


def test_best_and_last(damageable):
    for better, best in ((10, 10), (20, 20)):
        set_metric(damageable, 10, 50.0 - better)
        set_metric(damageable, 20, 50.0 - (30 - better))
        set_metric(damageable, best, 1.0)
        assert restored(damageable).step == best
        assert restored(damageable, "last").step == 20


@pytest.mark.long
def test_best_is_by_the_metric_of_the_run(tmp_path):
    workdir = trained_runs.trained_folder(tmp_path, "Checkpoints.best_metric = 'train/kl'")
    records = [json.loads(path.read_text()) for path in workdir.glob("checkpoints/*/record.json")]
    best = min(records, key=lambda record: record["metrics"]["train/kl"])
    set_metric(workdir, 30 - best["step"], -1.0)  # Of the standard metric, the other would win.
    assert restored(workdir).step == best["step"]


def test_a_run_without_evaluations_gives_its_newest(tmp_path):
    workdir = trained_runs.trained_folder(tmp_path, "train.callbacks = [@Checkpoints()]")
    assert restored(workdir).step == 20


@pytest.mark.parametrize("wanted", ["20", 20, "step-00000020", "checkpoints/step-00000020"])
def test_a_checkpoint_by_step_and_by_path(finished, wanted):
    wanted = finished / wanted if "/" in str(wanted) else wanted
    assert restored(finished, wanted).step == 20


@pytest.mark.parametrize("wanted", ["15", "newest", "elsewhere/step-00000020"])
def test_an_unknown_checkpoint_names_those_there_are(finished, wanted):
    with pytest.raises(ConfigurationError, match=f"no checkpoint {wanted} in .*10, 20"):
        restored(finished, wanted)


def test_a_damaged_checkpoint_is_passed_over_or_refused_by_name(damageable, caplog):
    set_metric(damageable, 20, 0.0)
    flip_a_byte(data_file(damageable, 20))
    assert restored(damageable).step == restored(damageable, "last").step == 10
    with pytest.raises(EnvironmentFailure, match=r"step-00000020 is damaged: variables.data.* differs"):
        restored(damageable, "20")
    flip_a_byte(data_file(damageable, 10))
    with pytest.raises(EnvironmentFailure, match="none of the 2 checkpoints"):
        restored(damageable)


def test_no_checkpoint(damageable):
    for path in damageable.glob("checkpoints/*"):
        path.rename(damageable / path.name)
    with pytest.raises(ConfigurationError, match=r"no checkpoint in .*train first"):
        restored(damageable)


def test_a_folder_that_is_not_there_names_its_neighbours(finished):
    with pytest.raises(ConfigurationError, match="no such folder; did you mean 'run'"):
        vaeflow.load(finished.parent / "runn")


def test_a_folder_of_another_kind(finished):
    with pytest.raises(
        ConfigurationError, match=r"not the work folder of a run: it holds no config.gin that binds"
    ):
        vaeflow.load(finished / "checkpoints")


def test_a_configuration_of_another_kind(tmp_path):
    (tmp_path / "config.gin").write_text("Adam.learning_rate = 0.1\ntrain.optimizer = @Adam\n")
    with pytest.raises(ConfigurationError, match=r"no config.gin that binds `train.model`"):
        vaeflow.load(tmp_path)


def test_a_plug_in_needs_consent(damageable):
    path = damageable / "config.gin"
    path.write_text("import tests.fixtures.gin_canary\n" + path.read_text())
    with pytest.raises(ConfigurationError, match=r"--plugin=tests.fixtures.gin_canary if you trust it"):
        vaeflow.load(damageable)


def test_another_model_than_that_of_the_checkpoint(finished):
    with pytest.raises(ConfigurationError, match=r"of another model.*shape \(3, 8\).*has \(4, 8\)"):
        restored(finished, parameters=["VAE.num_latents = 4"])
    with pytest.raises(ConfigurationError, match=r"of another model.*it holds 10 weights, this model 12"):
        restored(finished, parameters=["DenseDecoder.units = (8, 64)"])


def test_images_of_another_size(finished, tmp_path):
    trained_runs.write_data(tmp_path, shape=(9, 8, 1))
    run = restored(
        finished,
        parameters=[f"Arrays.{name} = '{tmp_path}/{name}.npz'" for name in ("train", "evaluation")],
    )
    with pytest.raises(
        ConfigurationError, match="takes images of 8 x 8 x 1, those of Arrays are of 9 x 8 x 1"
    ):
        run.split()


@pytest.mark.long
def test_precision_is_that_of_the_run_and_ends_with_it(tmp_path):
    workdir = trained_runs.trained_folder(tmp_path, "train.precision = 'float64'")
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    model = vaeflow.load(workdir)
    assert model.decode(tf.zeros((1, 3), tf.float64)).mean.dtype == tf.float64
    assert (keras.config.floatx(), keras.config.dtype_policy().name) == ("float32", "float32")


def test_a_run_from_python_cannot_be_read_back_without_its_configuration(tmp_path):
    tiny_runs.train(tmp_path)
    with pytest.raises(ConfigurationError, match=r"no config.gin that binds `train.model`"):
        vaeflow.load(tmp_path)


def test_a_run_names_the_plugin_that_it_was_trained_with(tmp_path):
    """Else its unknown classes are all that the message tells."""
    (tmp_path / "config.gin").write_text("train.model = @NoSuchModel\nNoSuchModel.depth = 3\n")
    (tmp_path / "environment.json").write_text('{"plugins": ["my_package.models", "not a module"]}')
    with pytest.raises(ConfigurationError) as caught:
        vaeflow.load(tmp_path)
    advice = "add --plugin=my_package.models if you trust it (in Python, plugins=['my_package.models'])"
    assert advice in str(caught.value)
    assert "not a module" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", '{"plugins": 3}', "{}", "[" * 100_000])
def test_a_folder_that_remembers_no_plugin_keeps_the_message(tmp_path, content):
    (tmp_path / "config.gin").write_text("train.model = @NoSuchModel\n")
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(ConfigurationError, match="nothing is registered as 'NoSuchModel'"):
        vaeflow.load(tmp_path)


def test_a_run_remembers_its_plugins(finished):
    assert json.loads((finished / "environment.json").read_text())["plugins"] == [trained_runs.PLUGIN]
