"""The model card of an exported model."""

from __future__ import annotations

import inspect
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from vaeflow.distributions import is_discrete
from vaeflow.export import code_prior
from vaeflow.export.card_texts import OF_CODES, OF_LATENTS, TEMPLATE
from vaeflow.export.formats import FORMATS, modules_of
from vaeflow.export.inference import blank_pass, center_name, code_sizes_of, codes_shape, encoded, suffix
from vaeflow.export.scale import latent_rows
from vaeflow.export.usage import USAGE, code_places, places
from vaeflow.models import frozen_blocks
from vaeflow.runs import json_files, reading, record
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.escaping import code_block, markdown
from vaeflow.runs.hub.card import NO_LICENCE, RUN_HERE

if TYPE_CHECKING:
    from vaeflow.datasets.encoded.manifest import Manifest
    from vaeflow.trained import Trained

_ENVIRONMENT = {
    "packages": json_files.TEXT_OR_NULL_BY_NAME,
    "git_revision": json_files.TEXT_OR_NULL,
    **dict.fromkeys(("data", "python", "platform", "devices"), json_files.TEXT),
}
_EVALUATION = {"step": json_files.WHOLE, "metrics": json_files.NUMBER_BY_NAME}

# Metrics of single latents, or of groups of codes: `kl_per_dimension/03`, in an evaluation with brackets.
_OF_EACH = re.compile(r"(.+)/\d+(\[.*\]|)")

# The blocks that most models have -> what they are called in the card.
_ROLES = {
    "encoder": "encoder",
    "decoder": "decoder",
    "posterior": "q(z\\|x)",
    "likelihood": "p(x\\|z)",
    "prior": "p(z)",
}


def model_card(
    run: Trained,
    formats: Sequence[str],
    differences: Mapping[str, float],
    encoding: Manifest | None = None,
) -> str:
    """Describes an export.

    Args:
      run: the run whose model was exported.
      formats: the exported formats, keys of `FORMATS`.
      differences: what `check` returned.
      encoding: the manifest of an encoding by this model, which tells the scale of the latents.

    Returns:
      Markdown text.
    """
    model, folder = run.model, run.workdir.path
    configuration = reading.read_text(folder / "config.gin")
    environment = _read_json(folder / "environment.json", _ENVIRONMENT)
    size = " x ".join(map(str, run.image_shape))
    of_codes = model.takes == "codes"
    return TEMPLATE.format(
        **(OF_CODES if of_codes else OF_LATENTS),
        no_licence=NO_LICENCE,
        run_here=RUN_HERE,
        title=markdown(folder.resolve().name),
        class_name=type(model).__name__,
        latents="" if of_codes else f" Its latents: {_latents(run)}.",
        size=size,
        step=run.step,
        details=_table(_details(run, size, formats, differences) | latent_rows(encoding)),
        code="\n\n".join(_code(run, name) for name in formats),
        data=_table(_data(run, environment)),
        training=_table(_training(run, configuration)),
        evaluation=_evaluation(run, _read_json(folder / "evaluation.json", _EVALUATION)),
        versions=_table(_versions(environment)),
        configuration=code_block(record.without_paths(configuration.strip())),
    )


def _details(
    run: Trained, size: str, formats: Sequence[str], differences: Mapping[str, float]
) -> dict[str, Any]:
    model = run.model
    files = ", ".join(
        f"`{FORMATS[name].path}` (differs from the model by {_rounded(differences[name])} at most)"
        for name in formats
    )
    return {
        "model": f"{type(model).__name__}: {_summary(model)}",
        **{title: name for role, title in _ROLES.items() if (name := _block_name(model, role))},
        **(code_prior.described(model) if model.takes == "codes" else {"latents": _latents(run)}),
        "weights": frozen_blocks.num_weights(model)
        + (" (moving averages)" if run.settings["ema_decay"] is not None else ""),
        **{
            f"frozen weights of {markdown(each.file)}": f"SHA-256 `{each.sha256}`"
            for each in frozen_blocks.files(model)
        },
        **_inputs(model, size),
        "precision": f"computed in {run.settings['precision']}, {model.variable_dtype} in and out",
        "files": files,
        "SHA-256 of the weights": f"`{weights_sha256(frozen_blocks.without(model, model.weights))}`",
    }


def _inputs(model: Any, size: str) -> dict[str, str]:
    if model.takes == "codes":
        return {"maps": f"{size} (height, width, codes at each place)"}
    return {"images": f"{size} (height, width, channels), values in [0, 1]"}


def _block_name(model: Any, role: str) -> str:
    return type(getattr(model, role)).__name__ if hasattr(model, role) else ""


def _latents(run: Trained) -> str:
    draws = blank_pass(run.model, run.image_shape).draws
    described = []
    for group, draw in draws.items():
        label, kind, shape = f"{group}: " if len(draws) > 1 else "", "numbers", draw.value.shape[1:]
        if is_discrete(draw.posterior):
            kind, shape = _codes(draw.posterior, shape[-1]), shape[:-1]
        described.append(f"{label}{' x '.join(map(str, shape))} {kind}")
    return "; ".join(described)


def _codes(posterior: Any, length: Any) -> str:
    """Says what codes there are at a place, and what the decoder sees of them."""
    count = len(posterior.code_sizes)
    sizes = " and ".join(f"{size:,}" for size in dict.fromkeys(posterior.code_sizes))
    codes = "code" if count == 1 else "codes"
    return f"places, each with {count} {codes} of {sizes}: {length} numbers to the decoder"


def _code(run: Trained, name: str) -> str:
    model = run.model
    num_labels = len(model.label_sizes) if "labels" in model.reads else 0
    common = {
        "shape": ", ".join(map(str, run.image_shape)),
        "dtype": model.variable_dtype,
        "imports": "\n".join(f"import {module}" for module in modules_of(model)) if name == "keras" else "",
    }
    if model.takes == "codes":
        filled = places({}, (), num_labels, model.variable_dtype) | common
        filled["codes_inputs"] = '{"images": codes, "labels": labels}' if num_labels else "codes"
        return code_prior.USAGE[name].format(**filled)
    blank = blank_pass(model, run.image_shape)
    latents = {
        f"latents{suffix(group, blank.draws)}": (
            center_name(group, blank.draws),
            tuple(draw.value.shape.as_list()[1:]),
        )
        for group, draw in blank.draws.items()
    }
    filled = places(latents, tuple(encoded(blank)), num_labels, model.variable_dtype) | common
    sizes = code_sizes_of(model)
    shape = codes_shape(blank.draws) if sizes else ()
    return USAGE[name].format(**filled, **code_places(shape, sizes, filled))


def _data(run: Trained, environment: Mapping[str, Any]) -> dict[str, Any]:
    dataset = run.dataset
    return {
        "dataset": f"{type(dataset).__name__}: {_summary(dataset)}",
        "splits": markdown(environment.get("data", "not recorded")),
        "binarization": dataset.binarization,
    }


def _training(run: Trained, configuration: str) -> dict[str, Any]:
    optimizer = getattr(run.settings["optimizer"], "__name__", str(run.settings["optimizer"]))
    bound = re.findall(rf"^{re.escape(optimizer)}\.(\w+) = (.+)$", configuration, re.MULTILINE)
    return {
        "steps": f"{run.step:,} of {_length(run.settings)}",
        "batch size": f"{run.batch_size} (global)",
        "optimizer": optimizer + "".join(f", {name} {markdown(value)}" for name, value in bound),
        "seed": run.seed,
        "precision": run.settings["precision"],
    }


def _length(settings: Mapping[str, Any]) -> str:
    epochs, steps = settings["num_epochs"], settings["num_steps"]
    return f"{steps:,}" if epochs is None else f"those of {epochs:,} epochs"


def _evaluation(run: Trained, evaluation: Mapping[str, Any]) -> str:
    parts = [f"Recorded in training, at step {run.step:,}:", _table(_numbers(run.metrics))]
    if evaluation.get("step") == run.step and "metrics" in evaluation:
        parts += ["Evaluated after training, at the same step:", _table(_numbers(evaluation["metrics"]))]
    return "\n\n".join(parts)


def _numbers(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Returns the finite metrics as text, those of all latents, or of all groups of codes, in one row."""
    rows: dict[str, list[str]] = {}
    for name, value in metrics.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        if found := _OF_EACH.fullmatch(name):
            kind = "group of codes" if "codes" in found[1].split("/") else "latent"
            name = f"{found[1]}{found[2]} (of each {kind})"
        rows.setdefault(markdown(name), []).append(f"{value:.4g}")
    return {name: ", ".join(values) for name, values in rows.items()} or {"none": ""}


def _versions(environment: Mapping[str, Any]) -> dict[str, Any]:
    packages = {name: version for name, version in environment.get("packages", {}).items() if version}
    rows = {
        "Python": environment.get("python"),
        **packages,
        "platform": environment.get("platform"),
        "devices": environment.get("devices"),
        "revision": environment.get("git_revision"),
    }
    return {markdown(name): markdown(value) for name, value in rows.items() if value} or {
        "versions": "not recorded"
    }


def _summary(thing: object) -> str:
    return (inspect.getdoc(type(thing)) or "").split("\n")[0]


def _table(rows: Mapping[str, Any]) -> str:
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines)


def _read_json(path: pathlib.Path, kinds: Mapping[str, json_files.Kind]) -> dict[str, Any]:
    """Reads what a run tells of itself; a damaged file counts as none, with a warning."""
    try:
        return json_files.read(path, {}, kinds)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logging.warning("%s is left out of the model card: %s", path, error)
        return {}


def _rounded(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"
