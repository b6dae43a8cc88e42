"""The requirements of a format are checked before anything is written."""

import importlib.util

import keras
import pytest

from vaeflow import layers, models, schedules
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.export import InferenceModule, modules_of, refuse_missing_packages, refuse_precision, write


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onnx", r"'onnx' needs tf2onnx and onnxruntime; run pip install 'vaeflow\[onnx\]'"),
        ("tflite", r"'tflite' needs ai-edge-litert; run pip install 'vaeflow\[tflite\]'"),
    ],
)
def test_missing_packages(monkeypatch, name, message):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    refuse_missing_packages(("saved_model", "keras"))
    with pytest.raises(ConfigurationError, match=message):
        refuse_missing_packages(("saved_model", name))


@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_precisions_of_other_runtimes(name):
    refuse_precision(("saved_model", "keras", name), "float32")
    for precision in ("float64", "mixed_bfloat16"):
        refuse_precision(("saved_model", "keras"), precision)
        with pytest.raises(ConfigurationError, match=f"'{name}' holds float32 models only.*{precision}"):
            refuse_precision(("keras", name), precision)


@keras.saving.register_keras_serializable(package="tests")
class Doubled(layers.DenseEncoder):
    """A block from elsewhere."""


def test_modules_are_those_of_the_model_and_its_blocks():
    assert modules_of(models.VAE(2)) == ["vaeflow.models"]
    warm_up = schedules.LinearSchedule(0.0, 1.0, 10)
    model = models.VAE(2, Doubled(units=(4,)), layers.DenseDecoder(units=(4,)), kl_weight=warm_up)
    expected = {Doubled.__module__, "vaeflow.layers", "vaeflow.models", "vaeflow.schedules"}
    assert modules_of(model) == sorted(expected)


class Unregistered(models.VAE):
    """A model that Keras cannot save."""

    def get_config(self):
        raise NotImplementedError("no configuration")


def test_a_model_that_keras_cannot_save(tmp_path):
    model = Unregistered(2, layers.DenseEncoder(units=(4,)), layers.DenseDecoder(units=(4,)))
    model.build((None, 8, 8, 1))
    module = InferenceModule(model, (8, 8, 1))
    with pytest.raises(
        ConfigurationError, match="cannot save this Unregistered: no configuration; leave 'keras'"
    ):
        write(module, model, tmp_path, ("keras",))


@pytest.mark.slow
def test_a_folder_that_cannot_be_written(tmp_path):
    model = models.VAE(2)
    model.build((None, 8, 8, 1))
    (tmp_path / "file").write_text("")
    module = InferenceModule(model, (8, 8, 1))
    for name in ("saved_model", "keras"):
        with pytest.raises(EnvironmentFailure, match=f"{name}.* cannot be written"):
            write(module, model, tmp_path / "file", (name,))
