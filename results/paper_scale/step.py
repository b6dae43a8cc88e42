"""One training step of an autoencoder of latent diffusion, computed and measured in a process of its own.

    python -m results.paper_scale.step '{"setting": "f8", "size": 64, "batch_size": 1, "measured": true}'

Prints a line of JSON; `run.py` says what is in it.
"""

import gc
import json
import pathlib
import resource
import sys

import keras
import numpy as np
import tensorflow as tf

from vaeflow import optimizers
from vaeflow.datasets import InMemorySplit
from vaeflow.layers import AttentionMapDecoder, AttentionMapEncoder, LaplaceLikelihood
from vaeflow.models import AutoencoderKL
from vaeflow.optimizers import Adam
from vaeflow.profiling import flops, graphs, memory
from vaeflow.training.replica_step import ReplicaStep
from vaeflow.training.settings import TrainingSettings

# Rombach et al. 2022, configs kl-f8 and kl-f16: stages, latents, and the heights of maps with
# attention as parts of that of the image.
SETTINGS = {
    "f8": {"filters": (128, 256, 512, 512), "num_latents": 4, "attention_parts": ()},
    "f16": {"filters": (128, 128, 256, 256, 512), "num_latents": 16, "attention_parts": (16,)},
}
_MEASURED_STEPS = 2


def make_step(setting, size, batch_size, recompute=False, precision="float32"):
    """Makes the training step of a published setting for images of a size, a `ReplicaStep`."""
    filters, num_latents, parts = SETTINGS[setting].values()
    sizes = {"attention_sizes": tuple(size // part for part in parts), "recompute": recompute}
    keras.config.set_dtype_policy(precision)
    model = AutoencoderKL(
        num_latents,
        encoder=AttentionMapEncoder(filters, 2, num_features=2 * num_latents, **sizes),
        decoder=AttentionMapDecoder(filters[::-1], 3, **sizes),
        likelihood=LaplaceLikelihood(0.5),
    )
    model.build((None, size, size, 3))
    optimizer = Adam(4.5e-6, 0.5, 0.9)
    optimizers.build_for_reduced_gradients(optimizer, model.trainable_variables)
    # What is in it does not matter: the step is given black images.
    split = InMemorySplit(np.arange(size**2 * 3).reshape(1, size, size, 3).astype(np.uint8))
    return ReplicaStep(model, optimizer, split, TrainingSettings(batch_size=batch_size))


def computed(replica_step, traced_step):
    """Returns what the graph of the step tells."""
    found = memory.training_step_memory(replica_step, traced_step)._asdict()
    return found | {"flops": flops.function_flops(traced_step)}


def measured(traced_step):
    """Runs the step; returns the most memory that it takes beside weights and optimizer, and its time.

    The first run, which TensorFlow prepares, is left out. Time is that of the processor in the program, on
    all cores, without the kernel's, so neither other processes nor pages that are given back count.
    """
    number = tf.constant(0, tf.int64)
    traced_step(number)
    gc.collect()
    before = _status("VmRSS")
    # Begins the peak anew; see proc(5).
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    started = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for _ in range(_MEASURED_STEPS):
        traced_step(number)
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - started
    return {"measured_working": _status("VmHWM") - before, "core_seconds": seconds / _MEASURED_STEPS}


def _status(name):
    for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}; Linux has")


def main(request):
    """Computes, and measures, what a JSON asks for."""
    request = json.loads(request)
    is_measured = request.pop("measured")
    replica_step = make_step(**request)
    traced_step = graphs.training_step(tf.distribute.get_strategy(), replica_step)
    result = computed(replica_step, traced_step)
    result |= {"num_weights": replica_step.model.count_params(), "tensorflow": tf.__version__}
    if is_measured:
        result |= measured(traced_step)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
