"""How to use each format of an export: Markdown for the model card, with code that runs as it is."""

from collections.abc import Sequence
from typing import Any

_SAVED_MODEL = """\
### SavedModel

Needs TensorFlow only.

| signature | inputs | outputs |
|---|---|---|
| `encode` | `images` {dtype} [B, {shape}] in [0, 1]{labels_row} | {parameters} of q(z\\|x); {centers} |
| `decode` | {latents}{labels_row} | `images` {dtype} [B, {shape}], the mean of p(x\\|z) |
| `reconstruct` | as for `encode` | `reconstructions` {dtype} [B, {shape}], \
from the center of q(z\\|x) |
| `sample` | {count_row}, `seed` int64{labels_row} | `images` {dtype} [n, {shape}] for z ~ p(z); \
a seed gives the same ones each time |{codes_rows}

```python
import numpy as np
import tensorflow as tf

vae = tf.saved_model.load("saved_model")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].{labels_line}
posterior = vae.encode(images{labels_argument})
decoded = vae.decode({latent_arguments}{labels_argument})["images"]
reconstructions = vae.reconstruct(images{labels_argument})["reconstructions"]
samples = vae.sample({count_argument}seed=0{labels_argument})["images"]{codes_saved_model}
```"""

_KERAS = """\
### Keras

Needs the packages imported here; on one device it is a `keras.Model` to train further.

```python
import keras
import numpy as np
{imports}

model = keras.saving.load_model("model.keras")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].{labels_line}
posterior = model.encode(images{labels_argument})  # {posterior_comment}
decoded = model.decode({keras_centers}{labels_argument}).mean  # The mean of p(x|z).
reconstructions = model({keras_inputs})
samples = model.sample({keras_count}{labels_argument}){codes_keras}
```"""

_TFLITE = """\
### TFLite

Needs `pip install ai-edge-litert`. The signatures are `encode`, `decode` and `reconstruct`,
with the inputs and outputs of the model: `encode` takes `images` {dtype} [B, {shape}] in [0, 1]{labels_row},
and gives {parameters} of q(z|x), where {centers}; `decode` takes {latents}{labels_row}, and gives `images`;
`reconstruct` takes the inputs of `encode`, and gives `reconstructions`.{codes_sentence}

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("model.tflite")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].{labels_line}
posterior = interpreter.get_signature_runner("encode")(images=images{labels_argument})
decoded = interpreter.get_signature_runner("decode")({latent_arguments}{labels_argument})["images"]
reconstruct = interpreter.get_signature_runner("reconstruct")
reconstructions = reconstruct(images=images{labels_argument})["reconstructions"]{codes_tflite}
```"""

_ONNX = """\
### ONNX

Needs `pip install onnxruntime`. `encode.onnx` takes `images` {dtype} [B, {shape}] in [0, 1]{labels_row}, and
gives {parameters} of q(z|x), where {centers}; `decode.onnx` takes {latents}{labels_row}, and gives `images`;
`reconstruct.onnx` takes the inputs of `encode.onnx`, and gives `reconstructions`.{codes_sentence}

```python
import numpy as np
import onnxruntime

images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].{labels_line}
encoder = onnxruntime.InferenceSession("onnx/encode.onnx")
names = [output.name for output in encoder.get_outputs()]
posterior = dict(zip(names, encoder.run(names, dict(images=images{labels_argument}))))
decoder = onnxruntime.InferenceSession("onnx/decode.onnx")
(decoded,) = decoder.run(["images"], dict({latent_arguments}{labels_argument}))
whole = onnxruntime.InferenceSession("onnx/reconstruct.onnx")
(reconstructions,) = whole.run(["reconstructions"], dict(images=images{labels_argument})){codes_onnx}
```"""

# What is added for a model of codes.
_CODES_ROWS = """
| `encode_codes` | as for `encode` | `codes` int32 [B, {codes_shape}] |
| `decode_codes` | `codes` int32 [B, {codes_shape}], below {code_sizes}{labels_row} | `images` {dtype} \
[B, {shape}], the mean of p(x\\|z) |"""
_CODES_SENTENCE = """
`encode_codes` takes the inputs of `encode`, and gives `codes` int32 [B, {codes_shape}]; `decode_codes` takes
`codes`, below {code_sizes}{labels_row}, and gives `images`."""
_CODES_LINES = {
    "saved_model": """
codes = vae.encode_codes(images{labels_argument})["codes"]
of_codes = vae.decode_codes(codes{labels_argument})["images"]""",
    "keras": """
codes = model.encode_codes(images{labels_argument})
of_codes = model.decode_codes(codes{labels_argument}).mean""",
    "tflite": """
codes = interpreter.get_signature_runner("encode_codes")(images=images{labels_argument})["codes"]
of_codes = interpreter.get_signature_runner("decode_codes")(codes=codes{labels_argument})["images"]""",
    "onnx": """
to_codes = onnxruntime.InferenceSession("onnx/encode_codes.onnx")
(codes,) = to_codes.run(["codes"], dict(images=images{labels_argument}))
from_codes = onnxruntime.InferenceSession("onnx/decode_codes.onnx")
(of_codes,) = from_codes.run(["images"], dict(codes=codes{labels_argument}))""",
}

# Format -> text with the places that `places` fills.
USAGE = {"saved_model": _SAVED_MODEL, "keras": _KERAS, "tflite": _TFLITE, "onnx": _ONNX}


def code_places(
    code_shape: Sequence[int], code_sizes: Sequence[int], filled: dict[str, str]
) -> dict[str, str]:
    """Fills the places of `USAGE` that are for a model of codes; with nothing for another.

    Args:
      code_shape: `(h, w, G)`, or empty.
      code_sizes: how many values each of the G codes has, or empty.
      filled: the other places.
    """
    texts = {"codes_rows": _CODES_ROWS, "codes_sentence": _CODES_SENTENCE}
    texts |= {f"codes_{name}": lines for name, lines in _CODES_LINES.items()}
    if not code_sizes:
        return dict.fromkeys(texts, "")
    described = {
        "codes_shape": ", ".join(map(str, code_shape)),
        "code_sizes": " and ".join(map(str, dict.fromkeys(code_sizes))),
    }
    return {name: text.format(**filled, **described) for name, text in texts.items()}


def places(
    latents: dict[str, tuple[str, tuple[Any, ...]]], parameters: tuple[str, ...], num_labels: int, dtype: str
) -> dict[str, str]:
    """Fills the places of `USAGE` that depend on the latents and the labels of a model.

    Args:
      latents: an input of `decode` -> the output of `encode` that goes there, and its shape
        without the batch.
      parameters: the outputs of `encode`.
      num_labels: how many labels the model reads of each image.
      dtype: of the latents.
    """
    sizes = {name: ", ".join(map(str, ("B", *shape))) for name, (_, shape) in latents.items()}
    several = len(latents) > 1
    filled = {
        "parameters": ", ".join(f"`{name}`" for name in parameters),
        "centers": ", ".join(f"`{center}` is [{sizes[name]}]" for name, (center, _) in latents.items()),
        "latents": ", ".join(f"`{name}` {dtype} [{sizes[name]}]" for name in latents),
        "latent_arguments": ", ".join(
            f'{name}=posterior["{center}"]' for name, (center, _) in latents.items()
        ),
        "posterior_comment": "Group -> q(z|x)."
        if several
        else "q(z|x): posterior.center, posterior.parameters",
        "keras_centers": "{name: each.center for name, each in posterior.items()}"
        if several
        else "posterior.center",
        "labels_row": "",
        "labels_line": "",
        "labels_argument": "",
        "keras_inputs": "images",
        "keras_count": "16",
        "count_row": "`num_samples` int32",
        "count_argument": "num_samples=16, ",
    }
    if num_labels:
        filled |= {
            "labels_row": f", `labels` int64 [B, {num_labels}]",
            "labels_line": f'\nlabels = np.zeros((7, {num_labels}), "int64")  # Of each image; yours.',
            "labels_argument": ", labels=labels",
            "keras_inputs": '{"images": images, "labels": labels}',
            "keras_count": "7",
            "count_row": "as many images as labels",
            "count_argument": "",
        }
    return filled
