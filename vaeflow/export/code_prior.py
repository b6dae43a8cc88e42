"""The export of a model of codes: its functions, and what the model card says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow.export.exported import Arguments, Exported, drawing

if TYPE_CHECKING:
    from vaeflow.models.code_prior import CodePrior


class CodePriorModule(Exported):
    """The functions of a trained `CodePrior`.

    - `log_prob(codes)`, int32 `[B, h, w, G]`, gives `log_prob` `[B, h, w, G]`: of each code given those
      before it, in nats.
    - `sample(num_samples, seed)`, int32 and int64 scalars, gives `codes` int32 `[n, h, w, G]`. The same
      seed gives the same codes.

    With a model that reads labels each takes `labels` too, int64 `[B, F]`, and `sample(seed, labels)`
    draws as many maps as there are labels.

    Args:
      model: a built model, made under the default strategy.
      map_shape: `(h, w, G)`.
    """

    function_names = ("log_prob", "sample")
    # Where a draw lies at the bound between two codes.
    choosing = ("sample",)

    def __init__(self, model: CodePrior, map_shape: Sequence[int]) -> None:
        super().__init__(model)
        self.map_shape, self.code_sizes = tuple(map_shape), model.code_sizes
        codes = {"codes": tf.TensorSpec((None, *map_shape), tf.int32, "codes")}

        def log_prob(inputs):
            labels = {"labels": inputs["labels"]} if self.label_sizes else {}
            return {"log_prob": model.forward({"images": inputs["codes"], **labels}).log_probs}

        def sample(inputs):
            with drawing(inputs) as num_samples:
                return {"codes": model.sample(num_samples, inputs.get("labels"))}

        self.log_prob = self._function(log_prob, codes | self.labels_signature())
        self.sample = self._function(sample, self.draws_signature())

    def example_arguments(self, generator: np.random.Generator, count: int, seed: int) -> Arguments:
        """Makes codes and draws; see `Exported`."""
        codes = generator.integers(0, self.code_sizes, (count, *self.map_shape), np.int32)
        labels, drawn = self.example_labels(generator, count)
        return {
            "log_prob": {"codes": codes, **labels},
            "sample": {**drawn, "seed": np.int64(seed), **labels},
        }


_SAVED_MODEL = """\
### SavedModel

Needs TensorFlow only.

| signature | inputs | outputs |
|---|---|---|
| `log_prob` | `codes` int32 [B, {shape}]{labels_row} | `log_prob` {dtype} [B, {shape}] of each code \
given those before it, in nats |
| `sample` | {count_row}, `seed` int64{labels_row} | `codes` int32 [n, {shape}]; a seed gives the same \
ones each time |

```python
import numpy as np
import tensorflow as tf

prior = tf.saved_model.load("saved_model")
codes = np.zeros((7, {shape}), "int32")  # Yours.{labels_line}
log_prob = prior.log_prob(codes{labels_argument})["log_prob"]
samples = prior.sample({count_argument}seed=0{labels_argument})["codes"]
```"""

_KERAS = """\
### Keras

Needs the packages imported here; on one device it is a `keras.Model` to train further.

```python
import keras
import numpy as np
{imports}

model = keras.saving.load_model("model.keras")
codes = np.zeros((7, {shape}), "int32")  # Yours.{labels_line}
log_prob = model({codes_inputs})  # Of each code given those before it, in nats.
samples = model.sample({keras_count}{labels_argument})
```"""

_TFLITE = """\
### TFLite

Needs `pip install ai-edge-litert`. The signature `log_prob` takes `codes` int32 [B, {shape}]{labels_row},
and gives `log_prob`; nothing is drawn here.

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("model.tflite")
codes = np.zeros((7, {shape}), "int32")  # Yours.{labels_line}
log_prob = interpreter.get_signature_runner("log_prob")(codes=codes{labels_argument})["log_prob"]
```"""

_ONNX = """\
### ONNX

Needs `pip install onnxruntime`. `log_prob.onnx` takes `codes` int32 [B, {shape}]{labels_row}, and gives
`log_prob`.

```python
import numpy as np
import onnxruntime

codes = np.zeros((7, {shape}), "int32")  # Yours.{labels_line}
session = onnxruntime.InferenceSession("onnx/log_prob.onnx")
(log_prob,) = session.run(["log_prob"], dict(codes=codes{labels_argument}))
```"""

# Format -> text with the places that `usage.places` fills, and those of the names `shape` and `dtype`.
USAGE = {"saved_model": _SAVED_MODEL, "keras": _KERAS, "tflite": _TFLITE, "onnx": _ONNX}


def described(model: Any) -> dict[str, str]:
    """Returns how a `CodePrior` is described: the net, and the codes."""
    sizes = " and ".join(f"{size:,}" for size in dict.fromkeys(model.code_sizes))
    return {"net": type(model.net).__name__, "codes at each place": f"{model.map_shape[-1]} of {sizes}"}
