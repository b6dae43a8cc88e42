"""How to use each format of an export: Markdown for the model card, with code that runs as it is."""

_SAVED_MODEL = """\
### SavedModel

Needs TensorFlow only.

| signature | inputs | outputs |
|---|---|---|
| `encode` | `images` {dtype} [B, {shape}] in [0, 1] | {parameters} {dtype} of q(z\\|x); \
`{center}` is [B, {latents}] |
| `decode` | `latents` {dtype} [B, {latents}] | `images` {dtype} [B, {shape}], the mean of p(x\\|z) |
| `reconstruct` | `images` as for `encode` | `reconstructions` {dtype} [B, {shape}], \
from the {center} of q(z\\|x) |
| `sample` | `num_samples` int32, `seed` int64 | `images` {dtype} [num_samples, {shape}] for z ~ p(z); \
a seed gives the same ones each time |

```python
import numpy as np
import tensorflow as tf

vae = tf.saved_model.load("saved_model")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].
posterior = vae.encode(images)
decoded = vae.decode(posterior["{center}"])["images"]
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
posterior = model.encode(images)  # q(z|x): posterior.center, posterior.parameters
decoded = model.decode(posterior.center).mean  # The mean of p(x|z).
reconstructions = model(images)
samples = model.sample(16)
```"""

_TFLITE = """\
### TFLite

Needs `pip install ai-edge-litert`. The signatures are `encode`, `decode` and `reconstruct`,
with the inputs and outputs of the model: `images` {dtype} [B, {shape}] in [0, 1]; {parameters}
of q(z|x), `{center}` being [B, {latents}]; `latents` and `images`; `images` and `reconstructions`.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("model.tflite")
images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].
posterior = interpreter.get_signature_runner("encode")(images=images)
decoded = interpreter.get_signature_runner("decode")(latents=posterior["{center}"])["images"]
reconstructions = interpreter.get_signature_runner("reconstruct")(images=images)["reconstructions"]
```"""

_ONNX = """\
### ONNX

Needs `pip install onnxruntime`. `encode.onnx` takes `images` {dtype} [B, {shape}] in [0, 1] and
gives {parameters}; `{center}` is [B, {latents}]; `decode.onnx` takes `latents` and gives `images`;
`reconstruct.onnx` takes `images` and gives `reconstructions`.

```python
import numpy as np
import onnxruntime

images = np.random.default_rng(0).random((7, {shape}), "{dtype}")  # Yours, in [0, 1].
encoder = onnxruntime.InferenceSession("onnx/encode.onnx")
({center},) = encoder.run(["{center}"], {{"images": images}})
decoder = onnxruntime.InferenceSession("onnx/decode.onnx")
(decoded,) = decoder.run(["images"], {{"latents": {center}}})
whole = onnxruntime.InferenceSession("onnx/reconstruct.onnx")
(reconstructions,) = whole.run(["reconstructions"], {{"images": images}})
```"""

# Format -> text with the places {shape}, {latents}, {dtype}, {center}, {parameters} and {imports}.
USAGE = {"saved_model": _SAVED_MODEL, "keras": _KERAS, "tflite": _TFLITE, "onnx": _ONNX}
