"""Describes an exported model: a model card, with the sections that Hugging Face gives it."""

import inspect
import json
import math
import re

from vaeflow.export.formats import FORMATS, modules_of
from vaeflow.runs.digest import weights_sha256

_TEMPLATE = """\
---
library_name: keras
pipeline_tag: unconditional-image-generation
tags:
- variational-autoencoder
- vaeflow
---

# {title}: {class_name}

A {class_name} with {num_latents} latents for images of {size}, trained for {step:,} steps.
The sections of this card are those of Mitchell et al. 2019 (arXiv:1810.03993).

## Model details

{details}

Developed by, and licence: not recorded; add them before you pass the model on.

## Uses

**Direct use.** To encode images like those it was trained on as {num_latents} numbers each,
to reconstruct such images, and to draw new ones.

**Out of scope.** Images of other sizes, which it refuses, and of other kinds, on which
nothing was measured. Decisions about people.

## Bias, risks and limitations

A variational autoencoder reproduces what is frequent in its data, and whatever is one-sided
in it; its images are smoother than the data. The numbers below hold for the data named below.

## How to get started

Run these in the folder of this card.

{code}

## Training details

### Training data

{data}

### Training procedure

{training}

The whole configuration, in gin, is at the end of this card; paths in it are those of the
machine that trained.

## Evaluation

{evaluation}

## Technical specifications

{versions}

## Configuration

```
{configuration}
```
"""

_SAVED_MODEL = """\
### SavedModel

Needs TensorFlow only.

| signature | inputs | outputs |
|---|---|---|
| `encode` | `images` {dtype} [B, {shape}] in [0, 1] | `mean`, `log_variance` {dtype} [B, {latents}] \
of q(z\\|x) |
| `decode` | `latents` {dtype} [B, {latents}] | `images` {dtype} [B, {shape}], the mean of p(x\\|z) |
| `reconstruct` | `images` as for `encode` | `reconstructions` {dtype} [B, {shape}], \
from the mean of q(z\\|x) |
| `sample` | `num_samples` int32, `seed` int64 | `images` {dtype} [num_samples, {shape}] for z ~ p(z); \
a seed gives the same ones each time |

```python
import numpy as np
import tensorflow as tf

vae = tf.saved_model.load("saved_model")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].
posterior = vae.encode(images)
decoded = vae.decode(posterior["mean"])["images"]
reconstructions = vae.reconstruct(images)["reconstructions"]
samples = vae.sample(num_samples=16, seed=0)["images"]
```"""

_KERAS = """\
### Keras

Needs the packages imported here; on one device it is a `keras.Model` to train further.

```python
import keras
import numpy as np
{imports}

model = keras.saving.load_model("model.keras")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].
posterior = model.encode(images)  # q(z|x): posterior.mean, posterior.log_variance
decoded = model.decode(posterior.mean).mean  # The mean of p(x|z).
reconstructions = model(images)
samples = model.sample(16)
```"""

_TFLITE = """\
### TFLite

Needs `pip install ai-edge-litert`. The signatures are `encode`, `decode` and `reconstruct`,
with the inputs and outputs of the model: `images` {dtype} [B, {shape}] in [0, 1]; `mean` and
`log_variance` [B, {latents}]; `latents` and `images`; `images` and `reconstructions`.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("model.tflite")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].
posterior = interpreter.get_signature_runner("encode")(images=images)
decoded = interpreter.get_signature_runner("decode")(latents=posterior["mean"])["images"]
reconstructions = interpreter.get_signature_runner("reconstruct")(images=images)["reconstructions"]
```"""

_ONNX = """\
### ONNX

Needs `pip install onnxruntime`. `encode.onnx` takes `images` {dtype} [B, {shape}] in [0, 1] and
gives `mean` and `log_variance` [B, {latents}]; `decode.onnx` takes `latents` and gives `images`;
`reconstruct.onnx` takes `images` and gives `reconstructions`.

```python
import numpy as np
import onnxruntime

images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].
encoder = onnxruntime.InferenceSession("onnx/encode.onnx")
mean, log_variance = encoder.run(["mean", "log_variance"], {{"images": images}})
decoder = onnxruntime.InferenceSession("onnx/decode.onnx")
(decoded,) = decoder.run(["images"], {{"latents": mean}})
whole = onnxruntime.InferenceSession("onnx/reconstruct.onnx")
(reconstructions,) = whole.run(["reconstructions"], {{"images": images}})
```"""

_CODE = {"saved_model": _SAVED_MODEL, "keras": _KERAS, "tflite": _TFLITE, "onnx": _ONNX}


def model_card(run, formats, differences):
    """Writes the card.

    Args:
      run: a `trained.Trained`.
      formats: the formats exported, keys of `FORMATS`.
      differences: what `check` returned.

    Returns:
      Markdown text.
    """
    model, folder = run.model, run.workdir.path
    configuration = (folder / "config.gin").read_text()
    environment = _read_json(folder / "environment.json")
    size = " x ".join(map(str, run.image_shape))
    return _TEMPLATE.format(
        title=folder.resolve().name,
        class_name=type(model).__name__,
        num_latents=model.num_latents,
        size=size,
        step=run.step,
        details=_table(_details(run, size, formats, differences)),
        code="\n\n".join(_code(run, name) for name in formats),
        data=_table(_data(run, environment)),
        training=_table(_training(run, configuration)),
        evaluation=_evaluation(run, _read_json(folder / "evaluation.json")),
        versions=_table(_versions(environment)),
        configuration=configuration.strip(),
    )


def _details(run, size, formats, differences):
    model = run.model
    files = ", ".join(
        f"`{FORMATS[name].path}` (differs from the model by {_rounded(differences[name])} at most)"
        for name in formats
    )
    return {
        "model": f"{type(model).__name__}: {_summary(model)}",
        "encoder, decoder": f"{type(model.encoder).__name__}, {type(model.decoder).__name__}",
        "p(x\\|z), p(z)": f"{type(model.likelihood).__name__}, {type(model.prior).__name__}",
        "latents": model.num_latents,
        "weights": f"{model.count_params():,}"
        + (" (moving averages)" if run.settings["ema_decay"] is not None else ""),
        "images": f"{size} (height, width, channels), values in [0, 1]",
        "precision": f"computed in {run.settings['precision']}, {model.variable_dtype} in and out",
        "files": files,
        "SHA-256 of the weights": f"`{weights_sha256(model.weights)}`",
    }


def _code(run, name):
    return _CODE[name].format(
        shape=", ".join(map(str, run.image_shape)),
        latents=run.model.num_latents,
        dtype=run.model.variable_dtype,
        imports="\n".join(f"import {module}" for module in modules_of(run.model)) if name == "keras" else "",
    )


def _data(run, environment):
    dataset = run.dataset
    return {
        "dataset": f"{type(dataset).__name__}: {_summary(dataset)}",
        "splits": environment.get("data", "not recorded"),
        "binarization": dataset.binarization,
    }


def _training(run, configuration):
    optimizer = getattr(run.settings["optimizer"], "__name__", str(run.settings["optimizer"]))
    bound = re.findall(rf"^{re.escape(optimizer)}\.(\w+) = (.+)$", configuration, re.MULTILINE)
    return {
        "steps": f"{run.step:,} of {run.settings['num_steps']:,}",
        "batch size": f"{run.batch_size} (global)",
        "optimizer": optimizer + "".join(f", {name} {value}" for name, value in bound),
        "seed": run.seed,
        "precision": run.settings["precision"],
    }


def _evaluation(run, evaluation):
    parts = [f"Recorded in training, at step {run.step:,}:", _table(_numbers(run.metrics))]
    if evaluation.get("step") == run.step:
        parts += ["Evaluated after training, at the same step:", _table(_numbers(evaluation["metrics"]))]
    return "\n\n".join(parts)


def _numbers(metrics):
    """The finite metrics as text; those of single latents in one row."""
    rows = {}
    for name, value in metrics.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        group, _, latent = name.rpartition("/")
        if latent.isdecimal():
            name = f"{group} (of each latent)"
        rows.setdefault(name, []).append(f"{value:.4g}")
    return {name: ", ".join(values) for name, values in rows.items()} or {"none": ""}


def _versions(environment):
    packages = {name: version for name, version in environment.get("packages", {}).items() if version}
    rows = {
        "Python": environment.get("python"),
        **packages,
        "platform": environment.get("platform"),
        "devices": environment.get("devices"),
        "revision": environment.get("git_revision"),
    }
    return {name: value for name, value in rows.items() if value} or {"versions": "not recorded"}


def _summary(thing):
    return (inspect.getdoc(type(thing)) or "").split("\n")[0]


def _table(rows):
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines)


def _read_json(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def _rounded(difference):
    return f"{difference:.0e}" if difference else "0"
