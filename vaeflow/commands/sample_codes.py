"""The arrays of `sample` for a model of codes, whose images its tokenizer decodes."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow import config, trained
from vaeflow.analysis import traversals
from vaeflow.commands.sample_files import Arrays
from vaeflow.datasets import Codes
from vaeflow.errors import ConfigurationError
from vaeflow.models import VAE, frozen_blocks
from vaeflow.runs.digest import weights_sha256
from vaeflow.runs.escaping import printable
from vaeflow.samplers import CodeSampler


def draw(
    run: trained.Trained,
    samplers: Mapping[str, Any] | None,
    num_samples: int,
    labels: np.ndarray | None,
    seed: int,
    tokenizer: str | None,
) -> Arrays:
    """Draws codes from each sampler, and decodes them.

    Args:
      run: the run of a model of codes.
      samplers: name -> sampler; None for draws from the model itself.
      num_samples: n.
      labels: int64 `[n, F]`, for a model that reads them.
      seed: keys the noise.
      tokenizer: the work folder of the tokenizer; None for the one that the manifest of the codes names.

    Returns:
      samples_<name>_codes int32 `[n, h, w, G]`, samples_<name>_images `[n, H, W, C]`, and the labels.

    Raises:
      ConfigurationError: a sampler draws no codes, or the tokenizer is not that of the codes.
    """
    samplers = {"prior": CodeSampler()} if samplers is None else samplers
    for sampler in samplers.values():
        if not isinstance(sampler, CodeSampler):
            raise ConfigurationError(
                f"{type(sampler).__name__} draws latents, which a {type(run.model).__name__} has not; set "
                "`sample.samplers = [@CodeSampler()]`"
            )
    decoder = _tokenizer_of(run, tokenizer)
    arrays = {} if labels is None else {"samples_labels": labels}
    for name, sampler in samplers.items():
        sampler.use(run.model)
        codes = sampler.sample(num_samples, seed, labels)
        arrays[f"samples_{name}_codes"] = codes
        arrays[f"samples_{name}_images"] = traversals.decode_codes(decoder, codes, labels)
    return arrays


def _tokenizer_of(run: trained.Trained, workdir: str | None) -> Any:
    """Loads the tokenizer of a run's codes, and checks that its weights are those that encoded them."""
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
    model = trained.load(str(folder), str(named["step"]), config.plugins_in_force())
    if weights_sha256(frozen_blocks.without(model, model.weights)) != named["weights_sha256"]:
        raise ConfigurationError(
            printable(f"step {named['step']} of {folder} has other weights than the tokenizer of {advice}")
        )
    _check_tokenizer(model, run.model)
    return model


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
