"""The formats of an export: how each is written, and how another process loads it."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.errors import ConfigurationError
from vaeflow.models import frozen_blocks
from vaeflow.runs import files, watchdog
from vaeflow.runs.literal_paths import literal

if TYPE_CHECKING:
    from vaeflow.export.exported import Exported

_LONGEST_SECONDS = 1800.0  # One call of a library, which reports nothing.
_ONNX_OPSET = 18  # The newest that tf2onnx 1.17 writes.


# TFLite and ONNX have no Philox generator, which the noise comes from.
_NOISELESS = ("sample",)


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
      path: the file or folder, below the folder of the export.
      write: writes it; called with the module, the model and the path.
      load: a Python program that defines `call(name, arguments)` for the file `path`; `check` runs it
        in a process of its own.
      without: the functions of an `Exported` that it does not hold.
      packages: required packages in addition to vaeflow's own dependencies, module -> package.
      extra: the extra of vaeflow that installs them.
    """

    path: str
    write: Callable[[Exported, keras.Model, pathlib.Path], None]
    load: str
    without: tuple[str, ...] = ()
    packages: dict[str, str] = dataclasses.field(default_factory=dict)
    extra: str = ""

    def functions(self, module: Exported) -> tuple[str, ...]:
        """Returns the names of the functions of a module that it holds."""
        return tuple(name for name in module.function_names if name not in self.without)


def _write_saved_model(module: Exported, _model: keras.Model, path: pathlib.Path) -> None:
    with literal(path.parent) as safe:
        tf.saved_model.save(module, str(safe / path.name), signatures=module.functions())


def _write_keras(_module: Exported, model: keras.Model, path: pathlib.Path) -> None:
    if programs := frozen_blocks.saved_models(model):
        raise ConfigurationError(
            f"a .keras file would not hold the SavedModel {programs[0]!r} that is part of this "
            f"{type(model).__name__}; leave 'keras' out of `export.formats`"
        )
    try:
        model.save(path)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ConfigurationError(
            f"Keras cannot save this {type(model).__name__}: {error}; leave 'keras' out of `export.formats`"
        ) from error


def _write_tflite(module: Exported, _model: keras.Model, path: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder, literal(pathlib.Path(folder)) as safe:
        tf.saved_model.save(module, str(safe), signatures=module.functions())
        converter = tf.lite.TFLiteConverter.from_saved_model(
            str(safe), signature_keys=list(FORMATS["tflite"].functions(module))
        )
        try:
            content = converter.convert()
        except Exception as error:  # The converter's classes of errors are private.
            raise ConfigurationError(
                f"the TFLite converter refuses this model: {_first_line(error)}; leave 'tflite' out of "
                "`export.formats`"
            ) from error
    path.write_bytes(content)


def _write_onnx(module: Exported, _model: keras.Model, path: pathlib.Path) -> None:
    import tf2onnx  # Optional, and its import takes a second.

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    path.mkdir()
    for name, function in module.functions(FORMATS["onnx"].functions(module)).items():
        try:
            tf2onnx.convert.from_function(
                function, function.input_signature, opset=_ONNX_OPSET, output_path=str(path / f"{name}.onnx")
            )
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise ConfigurationError(
                f"tf2onnx cannot convert `{name}` of this model: {_first_line(error)}; leave 'onnx' out of "
                "`export.formats`"
            ) from error


_LOAD_SAVED_MODEL = """
# None there makes an import fail.
sys.modules.update(dict.fromkeys(("vaeflow", "keras", "tf_keras")))

import tensorflow as tf

signatures = tf.saved_model.load(path).signatures

def call(name, arguments):
    outputs = signatures[name](**{key: tf.constant(value) for key, value in arguments.items()})
    return {key: value.numpy() for key, value in outputs.items()}
"""

_LOAD_KERAS = """
from vaeflow import registry

for name in modules:
    registry.load_plugin(name)

import keras
from vaeflow.export import module_of

model = keras.saving.load_model(path)
first = next(iter(examples[functions[0]]["arguments"].values()))  # Images, or codes.
by_name = module_of(model, first.shape[1:]).functions()

def call(name, arguments):
    return {key: value.numpy() for key, value in by_name[name](**arguments).items()}
"""

_LOAD_TFLITE = """
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(path)

def call(name, arguments):
    return interpreter.get_signature_runner(name)(**arguments)
"""

_LOAD_ONNX = """
import onnxruntime

def call(name, arguments):
    session = onnxruntime.InferenceSession(f"{path}/{name}.onnx", providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, arguments)))
"""

FORMATS = {
    "saved_model": Format("saved_model", _write_saved_model, _LOAD_SAVED_MODEL),
    "keras": Format("model.keras", _write_keras, _LOAD_KERAS),
    "tflite": Format(
        "model.tflite",
        _write_tflite,
        _LOAD_TFLITE,
        _NOISELESS,
        {"ai_edge_litert": "ai-edge-litert"},
        "tflite",
    ),
    "onnx": Format(
        "onnx",
        _write_onnx,
        _LOAD_ONNX,
        _NOISELESS,
        {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
        "onnx",
    ),
}


def refuse_missing_packages(formats: Sequence[str]) -> None:
    """Raises `ConfigurationError` if a package is missing that a format needs."""
    for name in formats:
        missing = [
            package
            for module, package in FORMATS[name].packages.items()
            if importlib.util.find_spec(module) is None
        ]
        if missing:
            raise ConfigurationError(
                f"the format {name!r} needs {' and '.join(missing)}; run pip install "
                f"'vaeflow[{FORMATS[name].extra}]'"
            )


def refuse_precision(formats: Sequence[str], precision: str) -> None:
    """Raises `ConfigurationError` if a format cannot hold a model of `precision`."""
    # Their runtimes lack convolutions in float64, and bfloat16 altogether.
    limited = [name for name in formats if name in ("tflite", "onnx")]
    if limited and precision != "float32":
        raise ConfigurationError(
            f"the format {limited[0]!r} holds float32 models only, and this one was trained in {precision}; "
            f"leave {limited[0]!r} out of `export.formats`"
        )


def write(module: Exported, model: keras.Model, folder: pathlib.Path, formats: Sequence[str]) -> None:
    """Writes a model in each format, unchecked.

    Args:
      module: the functions of the model, as of `module_of`.
      model: the model.
      folder: an empty folder.
      formats: keys of `FORMATS`.

    Raises:
      ConfigurationError: a format cannot hold this model.
      EnvironmentFailure: a file could not be written.
    """
    for name in formats:
        path = folder / FORMATS[name].path
        watchdog.progress(f"the writing of {FORMATS[name].path}", _LONGEST_SECONDS)
        try:
            FORMATS[name].write(module, model, path)
        except (OSError, tf.errors.OpError) as error:
            raise files.failure(path, error) from error


def modules_of(model: keras.Model) -> list[str]:
    """Lists the modules of a model's classes, which Keras needs imported to load the saved model.

    Args:
      model: a model that Keras can serialize.

    Returns:
      Sorted names, those of vaeflow up to the sub-package: `["my_package.blocks", "vaeflow.models"]`.
    """
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if "class_name" in value and isinstance(value.get("module"), str):
                found.add(value["module"])
            for item in value.values():
                collect(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                collect(item)

    collect(keras.saving.serialize_keras_object(model))
    own = [name for name in found if name.partition(".")[0] not in ("keras", "builtins")]
    return sorted({".".join(name.split(".")[:2]) if name.startswith("vaeflow.") else name for name in own})


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
