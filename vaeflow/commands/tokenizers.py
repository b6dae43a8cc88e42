"""The model that made the codes or latents of a run, read back from its own work folder."""

import pathlib
from typing import Any

from vaeflow import config, trained
from vaeflow.datasets.encoded.sources import Encoded
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, LatentModel, frozen_blocks
from vaeflow.runs import paths
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.escaping import printable


def restored_for(run: trained.Trained, workdir: str | None) -> trained.Trained:
    """Restores what encoded a run's codes or latents, under the strategy of the run.

    Its configuration is in force afterwards.

    Args:
      run: the run of a model of codes or latents.
      workdir: the work folder of the tokenizer or autoencoder; None for the one that the manifest of the
        data names.

    Raises:
      ConfigurationError: there is none, its weights are not those that encoded the data, or it
        reads labels that the run has not.
    """
    dataset, content = run.dataset, run.model.takes
    if not isinstance(dataset, Encoded):
        raise ConfigurationError(
            f"the {content} of this run are those of {type(dataset).__name__}, which names no tokenizer that "
            f"could decode them; train on @{content.capitalize()}(), which reads what `vaeflow encode` wrote"
        )
    named = dataset.manifest.tokenizer
    advice = f"the {content} in {dataset.folder}; say where it is with --tokenizer=<its work folder>"
    folder = _folder(named["workdir"] if workdir is None else workdir, advice)
    config.load_trained("train", str(folder), plugins=config.plugins_in_force())
    tokenizer = trained.restore(str(folder), str(named["step"]), lambda: run.strategy)
    weights = frozen_blocks.without(tokenizer.model, tokenizer.model.weights)
    if weights_sha256(weights) != named["weights_sha256"]:
        raise ConfigurationError(
            printable(f"step {named['step']} of {folder} has other weights than the tokenizer of {advice}")
        )
    _check_tokenizer(tokenizer.model, run.model)
    return tokenizer


def _folder(path: str, advice: str) -> pathlib.Path:
    """Returns the work folder of a path, which anybody may have written into a manifest."""
    reason = ""
    try:
        folder = paths.local(path)
        if (folder / "config.gin").is_file():
            return folder
    except (OSError, ValueError) as error:
        reason = f" ({error.strerror if isinstance(error, OSError) else error})"
    raise ConfigurationError(
        printable(f"{paths.shown(path)} holds no run{reason}, and no tokenizer of {advice}")
    )


def _check_tokenizer(tokenizer: Any, model: Any) -> None:
    own = type(tokenizer).__name__
    if model.takes == "latents" and not isinstance(tokenizer, LatentModel):
        raise ConfigurationError(f"{own} has no `decode`, so nothing makes images of the latents")
    if model.takes == "codes" and not isinstance(tokenizer, VAE):
        raise ConfigurationError(f"{own} has no `decode_codes`, so nothing makes images of the codes")
    if "labels" in tokenizer.reads and tuple(tokenizer.label_sizes) != tuple(model.label_sizes):
        raise ConfigurationError(
            f"the tokenizer {own} reads labels with {list(tokenizer.label_sizes)} values, and this "
            f"{type(model).__name__} has {list(model.label_sizes) or 'none'}; set "
            f"`{type(model).__name__}.num_classes` to the same"
        )
