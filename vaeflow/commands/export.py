"""Exports a trained model; read `export` top to bottom."""

import contextlib
import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from vaeflow import config, registry, trained, validation
from vaeflow.errors import ConfigurationError
from vaeflow.export import (
    FORMATS,
    check,
    encoding_of,
    model_card,
    module_of,
    modules_of,
    refuse_missing_packages,
    refuse_precision,
    write,
)
from vaeflow.models.code_prior import CodePrior
from vaeflow.models.latent_model import LatentModel
from vaeflow.runs import files, json_files, temporary_files
from vaeflow.runs.escaping import printable
from vaeflow.runs.hub.published import EXPORT_RECORD
from vaeflow.training import making

_FINAL = "export"


@functools.partial(
    registry.command, refused=trained.FLAG_ADVICE | {"encoded": "use the flag --encoded instead"}
)
def export(
    workdir: str,
    checkpoint: str = "best",
    formats: Sequence[str] = ("saved_model", "keras"),
    encoded: str | None = None,
) -> dict[str, float]:
    """Exports a trained model for other programs, with a model card.

    Each file is loaded in a fresh process and compared with the model before the export
    takes its name, `<workdir>/export`, and replaces an earlier one. The card has the mean, the standard
    deviation and the scale of the latents if `encode` has measured them.

    Args:
      workdir: the work folder of a run.
      checkpoint: `"best"`, `"last"`, a step, or a checkpoint's path.
      formats: of `"saved_model"`, `"keras"`, `"tflite"` and `"onnx"`.
      encoded: a folder that `encode` wrote with this checkpoint, for the scale of the latents; None
        for `<workdir>/encoded` if that was written with it.

    Returns:
      Format -> the largest difference between the outputs of the file and of the model,
      relative to the largest number of an output if that is above 1.

    Raises:
      ConfigurationError: a setting is wrong, or a format cannot hold this model.
      EnvironmentFailure: the disk failed, or a file computes something else than the model.
    """
    with config.values_checked():
        formats = _checked_formats(formats)
    refuse_missing_packages(formats)
    _leave_gpus_alone()
    # One replica: a SavedModel of mirrored variables would hold the mirrors.
    run = trained.restore(workdir, checkpoint, tf.distribute.get_strategy)
    if not isinstance(run.model, (LatentModel, CodePrior)):
        raise ConfigurationError(
            f"`vaeflow export` writes models with latents and models of codes, and a "
            f"{type(run.model).__name__} is neither; vaeflow.load reads it in Python"
        )
    if run.model.takes == "latents":
        raise ConfigurationError(
            f"this {type(run.model).__name__} is a model of latents, which `vaeflow export` does not write; "
            "vaeflow.load reads it in Python"
        )
    refuse_precision(formats, run.settings["precision"])
    encoding = encoding_of(run, encoded)
    final = run.workdir.path / _FINAL
    with (
        temporary_files.kept_in(final.parent),
        files.staging(final.parent, final.name) as folder,
        making.precision(run.settings["precision"]),
    ):
        module = module_of(run.model, run.image_shape)
        write(module, run.model, folder, formats)
        modules = modules_of(run.model) if "keras" in formats else ()
        differences = check(module, folder, formats, modules)
        files.write_text(folder / "README.md", model_card(run, formats, differences, encoding))
        json_files.write(folder / EXPORT_RECORD, _record(run, differences))
        files.move(folder, final)
    _report(run, formats, differences)
    return differences


def _checked_formats(formats: Any) -> tuple[str, ...]:
    if not isinstance(formats, (list, tuple)) or not formats:
        raise ValueError(
            f"`export.formats` must be a list of formats, got {formats!r}; write "
            "export.formats = ('saved_model', 'keras')"
        )
    return tuple(dict.fromkeys(validation.one_of("export.formats", name, tuple(FORMATS)) for name in formats))


def _leave_gpus_alone() -> None:
    """Computes on the CPU like the checking processes: a GPU may be busy and rounds differently."""
    with contextlib.suppress(RuntimeError):  # Called from Python, when devices are already in use.
        tf.config.set_visible_devices([], "GPU")


def _record(run: trained.Trained, differences: dict[str, float]) -> dict[str, Any]:
    """Returns what `push` must know of an export."""
    return {
        "step": run.step,
        "model": type(run.model).__name__,
        "dataset": type(run.dataset).__name__,
        "files": {FORMATS[name].path: difference for name, difference in differences.items()},
    }


def _report(run: trained.Trained, formats: Sequence[str], differences: dict[str, float]) -> None:
    folder = run.workdir.path / _FINAL
    print(printable(f"checkpoint   {run.checkpoint} (step {run.step:,})"))
    for name in formats:
        difference = f"(differs from the model by {differences[name]:.1e})"
        print(printable(f"{name:<12} {folder / FORMATS[name].path} {difference}"))
    print(printable(f"model card   {folder / 'README.md'}"))
