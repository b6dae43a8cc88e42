"""The tokenizer that made the codes of a run, read back from its own work folder."""

import pathlib
from typing import Any

from vaeflow import config, trained
from vaeflow.datasets import Codes
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, frozen_blocks
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.escaping import printable


def restored_for(run: trained.Trained, workdir: str | None) -> trained.Trained:
    """Restores the tokenizer of a run's codes, under the strategy of the run.

    Its configuration is in force afterwards.

    Args:
      run: the run of a model of codes.
      workdir: the work folder of the tokenizer; None for the one that the manifest of the codes names.

    Raises:
      ConfigurationError: there is none, its weights are not those that encoded the codes, or it
        reads labels that the run has not.
    """
    dataset = run.dataset
    if not isinstance(dataset, Codes):
        raise ConfigurationError(
            f"the codes of this run are those of {type(dataset).__name__}, which names no tokenizer that "
            "could decode them; train on @Codes(), which reads what `vaeflow encode` wrote"
        )
    named = dataset.manifest.tokenizer
    folder = pathlib.Path(named["workdir"] if workdir is None else workdir)
    advice = f"the codes in {dataset.folder}; say where it is with --tokenizer=<its work folder>"
    if not (folder / "config.gin").is_file():
        raise ConfigurationError(printable(f"{folder} holds no run, and no tokenizer of {advice}"))
    config.load_trained("train", str(folder), plugins=config.plugins_in_force())
    tokenizer = trained.restore(str(folder), str(named["step"]), lambda: run.strategy)
    weights = frozen_blocks.without(tokenizer.model, tokenizer.model.weights)
    if weights_sha256(weights) != named["weights_sha256"]:
        raise ConfigurationError(
            printable(f"step {named['step']} of {folder} has other weights than the tokenizer of {advice}")
        )
    _check_tokenizer(tokenizer.model, run.model)
    return tokenizer


def _check_tokenizer(tokenizer: Any, model: Any) -> None:
    own = type(tokenizer).__name__
    if not isinstance(tokenizer, VAE):
        raise ConfigurationError(f"{own} has no `decode_codes`, so nothing makes images of the codes")
    if "labels" in tokenizer.reads and tuple(tokenizer.label_sizes) != tuple(model.label_sizes):
        raise ConfigurationError(
            f"the tokenizer {own} reads labels with {list(tokenizer.label_sizes)} values, and this "
            f"{type(model).__name__} has {list(model.label_sizes) or 'none'}; set "
            f"`{type(model).__name__}.num_classes` to the same"
        )
