"""The arrays of `sample` for a model of codes or latents, which the model that encoded them decodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow import random, trained
from vaeflow.analysis import traversals
from vaeflow.commands import tokenizers
from vaeflow.commands.sample_files import Arrays
from vaeflow.errors import ConfigurationError, user_code
from vaeflow.samplers import CodeSampler, PriorSampler, Sampler


def draw(
    run: trained.Trained,
    samplers: Mapping[str, Any] | None,
    num_samples: int,
    labels: np.ndarray | None,
    seed: int,
    tokenizer: str | None,
) -> Arrays:
    """Draws codes or latents from each sampler, and decodes them.

    Args:
      run: the run of a model of codes or latents.
      samplers: name -> sampler; None for draws from the model itself.
      num_samples: n.
      labels: int64 `[n, F]`, for a model that reads them.
      seed: keys the noise.
      tokenizer: the work folder of what encoded the data; None for the one that their manifest names.

    Returns:
      samples_<name>_codes int32 `[n, h, w, G]`, or samples_<name>_latents of the shape of the model that
      decodes; samples_<name>_images `[n, H, W, C]`, and the labels.

    Raises:
      ConfigurationError: a sampler draws something else, or the tokenizer is not that of the data.
    """
    own, content = type(run.model).__name__, run.model.takes
    kind: type[Sampler] = CodeSampler if content == "codes" else PriorSampler
    samplers = {"prior": kind()} if samplers is None else samplers
    for sampler in samplers.values():
        if not isinstance(sampler, kind):
            drawn = "codes" if isinstance(sampler, CodeSampler) else "latents"
            has = "which" if drawn != content else "fitted to those of images, which"
            raise ConfigurationError(
                f"{type(sampler).__name__} draws {drawn}, {has} a {own} has not; set `sample.samplers = "
                f"[@{kind.__name__}()]`"
            )
    decoder = tokenizers.restored_for(run, tokenizer).model
    arrays = {} if labels is None else {"samples_labels": labels}
    for name, sampler in samplers.items():
        if content == "codes":
            sampler.use(run.model)
            drawn = sampler.sample(num_samples, seed, labels)
            images = traversals.decode_codes(decoder, drawn, labels)
        else:
            drawn = _latents(run, sampler.temperature, num_samples, seed, labels)
            seen = labels if "labels" in decoder.reads else None
            # Groups that the second stage does not model are drawn.
            with random.keyed(seed, "first stage", 0):
                images = traversals.decode(decoder, {_group(run, decoder): drawn}, seen)
        arrays |= {f"samples_{name}_{content}": drawn, f"samples_{name}_images": images}
    return arrays


def _latents(run, temperature, num_samples, seed, labels):
    """Draws latents, as the first stage has them."""
    with random.keyed(seed, "latents", 0), user_code.running(run.model, "sample"):
        drawn = run.model.sample(num_samples, labels, temperature)
    return run.dataset.stored(np.asarray(drawn))


def _group(run, decoder):
    """Returns the name of the group of latents that the second stage models."""
    groups = run.dataset.manifest.groups
    return run.dataset.chosen_group() if len(groups) > 1 else decoder.sole_group
