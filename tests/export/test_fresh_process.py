"""An export that does not compute what the model does is found out, in a process of its own."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest

from vaeflow import layers, models
from vaeflow.errors import EnvironmentFailure
from vaeflow.export import FORMATS, InferenceModule, check, fresh_process, modules_of, write

pytestmark = pytest.mark.slow  # Each test has a trained run.

SHAPE = (9, 7, 3)


def conv_model():
    keras.utils.set_random_seed(0)
    model = models.ConvVAE(
        4,
        layers.ConvEncoder(filters=(4, 4), units=(8,)),
        layers.ConvDecoder(filters=(4, 4), units=(8,)),
    )
    model.build((None, *SHAPE))
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A model, its module, and the folder with both formats of TensorFlow."""
    model = conv_model()
    module = InferenceModule(model, SHAPE)
    folder = tmp_path_factory.mktemp("written")
    write(module, model, folder, ("saved_model", "keras"))
    return model, module, folder


@pytest.mark.long
def test_what_was_written_is_the_model_and_a_changed_weight_is_found(written):
    model, module, folder = written
    assert check(module, folder, ("saved_model", "keras"), modules_of(model)) == {
        "saved_model": 0,
        "keras": 0,
    }
    bias = model.decoder.weights[-1]
    before = bias.numpy()
    bias.assign_add(np.full(bias.shape, 1e-4, "float32"))
    try:
        with pytest.raises(
            EnvironmentFailure, match=r"saved_model was written, but .* decode.images differs"
        ):
            check(module, folder, ("saved_model",))
    finally:
        bias.assign(before)


def test_many_functions_are_traced_without_a_warning(tensorflow_log):
    model = conv_model()
    for _ in range(3):
        outputs = fresh_process._examples(InferenceModule(model, SHAPE))
    assert {key.partition("/")[0] for key in outputs} == {"encode", "decode", "reconstruct", "sample"}
    assert "retracing" not in tensorflow_log.text


def check_with(monkeypatch, module, load, **changes):
    """Checks a stand-in for the SavedModel that needs no TensorFlow."""
    changed = dataclasses.replace(FORMATS["saved_model"], load=load, **changes)
    monkeypatch.setitem(FORMATS, "saved_model", changed)
    return check(module, pathlib.Path(), ("saved_model",))["saved_model"]


ECHO = """
def call(name, arguments):
    return {{part: {changed} for part, value in examples[name]["outputs"].items()}}
"""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("value + np.float32(2e-5)", r"differs from the model by 2.0e-05, where 1e-05 is allowed"),
        ("value * np.float32('nan')", "differs from the model by nan"),
        ("value.astype('float64')", r"encode gives mean as float64 \(3, 4\), the model as float32 \(3, 4\)"),
        ("value[:2]", r"encode gives mean as float32 \(2, 4\), the model as float32 \(3, 4\)"),
    ],
)
def test_what_is_refused(monkeypatch, written, changed, message):
    with pytest.raises(EnvironmentFailure, match=message):
        check_with(monkeypatch, written[1], ECHO.format(changed=changed))


def test_what_passes(monkeypatch, written, tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the current folder hides a library')")
    monkeypatch.chdir(tmp_path)
    found = check_with(monkeypatch, written[1], ECHO.format(changed="value + np.float32(5e-6)"))
    assert found == pytest.approx(5e-6, rel=0.05)


@pytest.mark.parametrize("module", ["vaeflow", "keras.layers"])
def test_the_saved_model_is_loaded_without_vaeflow_and_keras(monkeypatch, written, module):
    before_tensorflow = FORMATS["saved_model"].load.partition("import tensorflow")[0]
    with pytest.raises(EnvironmentFailure, match="cannot be used in a fresh process: ModuleNotFoundError"):
        check_with(monkeypatch, written[1], f"{before_tensorflow}\nimport {module}")


def test_a_process_that_hangs(monkeypatch, written):
    monkeypatch.setattr("vaeflow.export.fresh_process._TIMEOUT_SECONDS", 0.5)
    with pytest.raises(EnvironmentFailure, match=r"saved_model was not loaded again within 0.5 seconds"):
        check_with(monkeypatch, written[1], "import time; time.sleep(100)")


@pytest.mark.long
@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_formats_of_other_runtimes(tmp_path, name):
    for package in FORMATS[name].packages:
        pytest.importorskip(package)
    model = conv_model()
    module = InferenceModule(model, SHAPE)
    write(module, model, tmp_path, (name,))
    assert 0 < check(module, tmp_path, (name,))[name] < 1e-5
    bias = model.decoder.weights[-1]
    bias.assign_add(np.full(bias.shape, 1e-2, "float32"))
    with pytest.raises(EnvironmentFailure, match=r"decode.images differs from the model by"):
        check(module, tmp_path, (name,))
