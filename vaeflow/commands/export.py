"""Exports a trained model: read `export` top to bottom."""

import contextlib
import functools

import tensorflow as tf

from vaeflow import config, registry, trained, validation
from vaeflow.export import (
    FORMATS,
    InferenceModule,
    check,
    model_card,
    modules_of,
    refuse_missing_packages,
    refuse_precision,
    write,
)
from vaeflow.runs import files
from vaeflow.training import settings

_FINAL = "export"


@functools.partial(registry.command, refused=trained.FLAG_ADVICE)
def export(workdir, checkpoint="best", formats=("saved_model", "keras")):
    """Exports a trained model for other programs, with a model card.

    Each file is loaded again in a fresh process and compared with the model before
    the export takes its name, `<workdir>/export`; one from before is replaced then.

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      formats: of `"saved_model"`, `"keras"`, `"tflite"` and `"onnx"`.

    Returns:
      A dict, format -> the largest difference between what the file computes and the
      model, relative to the largest number of an output where that is above 1.

    Raises:
      ConfigurationError: a setting is wrong, or a format cannot hold this model.
      EnvironmentFailure: the disk failed, or what was written is not the model.
    """
    with config.values_checked():
        formats = _checked_formats(formats)
    refuse_missing_packages(formats)
    _leave_gpus_alone()
    # One replica: a SavedModel of variables that are mirrored would hold the mirrors.
    run = trained.restore(workdir, checkpoint, tf.distribute.get_strategy)
    refuse_precision(formats, run.settings["precision"])
    final = run.workdir.path / _FINAL
    with files.staging(final.parent, final.name) as folder, settings.precision(run.settings["precision"]):
        module = InferenceModule(run.model, run.image_shape)
        write(module, run.model, folder, formats)
        modules = modules_of(run.model) if "keras" in formats else ()
        differences = check(module, folder, formats, modules)
        (folder / "README.md").write_text(model_card(run, formats, differences))
        files.move(folder, final)
    _tell(run, formats, differences)
    return differences


def _checked_formats(formats):
    if not isinstance(formats, (list, tuple)) or not formats:
        raise ValueError(
            f"`export.formats` must be a list of formats, got {formats!r}; write "
            "export.formats = ('saved_model', 'keras')"
        )
    return tuple(dict.fromkeys(validation.one_of("export.formats", name, tuple(FORMATS)) for name in formats))


def _leave_gpus_alone():
    """Computes on the CPU, as the processes that check do: a GPU may be busy, and rounds otherwise."""
    with contextlib.suppress(RuntimeError):  # Called from Python, when devices are in use already.
        tf.config.set_visible_devices([], "GPU")


def _tell(run, formats, differences):
    folder = run.workdir.path / _FINAL
    print(f"checkpoint   {run.checkpoint} (step {run.step:,})")
    for name in formats:
        print(f"{name:<12} {folder / FORMATS[name].path} (differs from the model by {differences[name]:.1e})")
    print(f"model card   {folder / 'README.md'}")
