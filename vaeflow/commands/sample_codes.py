"""The arrays of `sample` for a model of codes, whose images its tokenizer decodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vaeflow import trained
from vaeflow.analysis import traversals
from vaeflow.commands import tokenizers
from vaeflow.commands.sample_files import Arrays
from vaeflow.errors import ConfigurationError
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
    decoder = tokenizers.restored_for(run, tokenizer).model
    arrays = {} if labels is None else {"samples_labels": labels}
    for name, sampler in samplers.items():
        sampler.use(run.model)
        codes = sampler.sample(num_samples, seed, labels)
        arrays[f"samples_{name}_codes"] = codes
        arrays[f"samples_{name}_images"] = traversals.decode_codes(decoder, codes, labels)
    return arrays
