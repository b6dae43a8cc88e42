"""Loads an export in fresh processes and compares it with the model it was made from."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import EnvironmentFailure
from vaeflow.export.formats import FORMATS, Format
from vaeflow.runs import processes, watchdog

if TYPE_CHECKING:
    from vaeflow.export.exported import Exported

_TIMEOUT_SECONDS = 600
_TOLERANCE = 1e-5
_NUM_CHECKED = 3
_CHECKED_SEED = 20


def check(
    module: Exported, folder: pathlib.Path, formats: Sequence[str], modules: Sequence[str] = ()
) -> dict[str, float]:
    """Loads the files of `write`, each format in a fresh process, and compares them with the model.

    The processes compute on the CPU. The one for the SavedModel can import neither
    vaeflow nor Keras; those for TFLite and ONNX load their own runtimes only.

    Args:
      module: the functions of the model.
      folder: where the formats were written.
      formats: keys of `FORMATS`.
      modules: those that define the model's classes, from `modules_of`.

    Returns:
      Format -> the largest difference, relative to the largest number of an output if that
      is above 1.

    Raises:
      EnvironmentFailure: a file cannot be loaded, or differs from the model.
    """
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        arrays = pathlib.Path(temporary) / "arrays.npz"
        np.savez(arrays, allow_pickle=False, **_examples(module))
        started = {}
        for name in formats:  # All at once, since importing takes most of their time.
            functions = FORMATS[name].functions(module)
            names = (functions, module.choosing, modules)
            process = _started(FORMATS[name], names, folder, arrays)
            started[name] = stack.enter_context(process)
        return {name: _difference(process, FORMATS[name]) for name, process in started.items()}


def _examples(module: Exported) -> dict[str, np.ndarray]:
    """Returns arguments of the functions and the model's outputs for them.

    Returns:
      Arrays by name: `"encode/arguments/images"`, `"encode/outputs/mean"`, …
    """
    generator = np.random.default_rng(_CHECKED_SEED)
    arguments = module.example_arguments(generator, _NUM_CHECKED, _CHECKED_SEED)
    arrays = {}
    for name, function in module.functions().items():
        # A call of `function` would warn that so many of its kind are traced.
        outputs = function.get_concrete_function()(**arguments[name])
        arrays |= {f"{name}/arguments/{part}": value for part, value in arguments[name].items()}
        arrays |= {f"{name}/outputs/{part}": value.numpy() for part, value in outputs.items()}
    return arrays


# Runs in a process of its own, before and after a format's `load`.
_READ_ARRAYS = """
import json, sys
import numpy as np

path, arrays = sys.argv[1], np.load(sys.argv[2])
functions, choosing, modules = map(json.loads, sys.argv[3:])
examples = {}
for key, value in arrays.items():
    name, kind, part = key.split("/")
    examples.setdefault(name, {"arguments": {}, "outputs": {}})[kind][part] = value
"""

_COMPARE = """
differences = {}
for name in functions:
    found = call(name, examples[name]["arguments"])
    for part, expected in examples[name]["outputs"].items():
        value = np.asarray(found[part])
        if value.shape != expected.shape or value.dtype != expected.dtype:
            sys.exit(f"{name} gives {part} as {value.dtype} {value.shape}, "
                     f"the model as {expected.dtype} {expected.shape}")
        scale = max(1.0, float(np.max(np.abs(expected))))
        of_examples = np.abs(value - expected).reshape(len(expected), -1).max(axis=1) / scale
        chosen = np.min if name in choosing else np.max
        differences[f"{name}.{part}"] = float(chosen(of_examples))
print(json.dumps(differences))
"""


def _started(
    chosen: Format, names: Sequence[Sequence[str]], folder: pathlib.Path, arrays: pathlib.Path
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    program = _READ_ARRAYS + chosen.load + _COMPARE
    arguments = [chosen.path, str(arrays), *map(json.dumps, names)]
    environment = {
        "CUDA_VISIBLE_DEVICES": "",  # A GPU may be busy and rounds differently.
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # With -P it imports from where this process does.
        "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path),  # noqa: PTH100
    }
    return processes.child(
        [sys.executable, "-P", "-c", program, *arguments],
        env=os.environ | environment,
        cwd=folder,  # A path from there holds nothing that TensorFlow takes for a pattern.
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def _difference(process: subprocess.Popen[str], chosen: Format) -> float:
    """Waits for a process that `_started` returned; returns the largest difference it found."""
    watchdog.progress(f"the check of {chosen.path}", 2 * _TIMEOUT_SECONDS)
    try:
        output, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailure(
            f"{chosen.path} was not loaded again within {_TIMEOUT_SECONDS} seconds; nothing was exported"
        ) from error
    if process.returncode:
        last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise EnvironmentFailure(
            f"{chosen.path} was written, but cannot be used in a fresh process: {last}; nothing was exported"
        )
    differences = json.loads(output.splitlines()[-1])
    for name, difference in differences.items():
        if not difference <= _TOLERANCE:  # Also if it is NaN.
            raise EnvironmentFailure(
                f"{chosen.path} was written, but in a fresh process {name} differs from the model by "
                f"{difference:.1e}, where {_TOLERANCE:.0e} is allowed; nothing was exported"
            )
    return max(differences.values())
