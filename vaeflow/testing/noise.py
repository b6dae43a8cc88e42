"""Checks of the latents: their noise, their samples, and their order."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from vaeflow import random
from vaeflow.distributions import is_discrete
from vaeflow.models.latent_model import LatentModel
from vaeflow.models.passes import Generated
from vaeflow.testing import subjects
from vaeflow.testing.faults import call, check

_NUM_SAMPLES = 3
_ADVICE = "draw noise with vaeflow.random, or leave it to the posterior's `draw`"
_SHIFT = 3


@check("the noise")
def check_noise(factory, image_shape) -> Iterator[str]:
    """Checks that noise is a function of the step and the image's position in the global batch."""
    model = subjects.made(factory, image_shape)
    if not isinstance(model, LatentModel):
        return
    batch = subjects.alike(subjects.floats(model, image_shape))
    passes = [subjects.forward(model, batch, at, training=True) for at in (0, 0, _SHIFT)]
    rows = _SHIFT * passes[0].num_samples
    for group in passes[0].draws:
        first, again, later = (_noise(each.draws[group]) for each in passes)
        if not np.array_equal(first, again):
            yield f"two passes of one step draw different noise; {_ADVICE}"
        elif not np.any(first):
            continue  # A deterministic posterior.
        elif _has_equal_rows(first) and not is_discrete(passes[0].draws[group].posterior):
            yield f"two images of a batch get the same noise; {_ADVICE}"
        elif not np.allclose(first[rows:], later[:-rows], atol=1e-4):
            yield (
                f"the noise of an image depends on which replica it is on: it is the same on each; {_ADVICE}"
            )


@check("several samples of an image")
def check_samples(factory, image_shape) -> Iterator[str]:
    """Checks that each sample of an image has noise of its own, keyed by the image and its number."""
    model = subjects.made(factory, image_shape)
    if not isinstance(model, LatentModel):
        return
    batch = subjects.alike(subjects.floats(model, image_shape))
    first, later = (
        subjects.forward(model, batch, at, training=False, num_samples=_NUM_SAMPLES) for at in (0, _SHIFT)
    )
    rows = _SHIFT * _NUM_SAMPLES
    for name, draw in first.draws.items():
        noise, moved = _noise(draw), _noise(later.draws[name])
        if len(noise) != subjects.BATCH_SIZE * _NUM_SAMPLES:
            yield (
                f"{_NUM_SAMPLES} samples of {subjects.BATCH_SIZE} images give {len(noise)} rows of the "
                f"latents {name!r}; compute with the rows of the evidence, not with a number of images"
            )
        elif not np.any(noise):
            continue
        elif _has_equal_rows(noise) and not is_discrete(draw.posterior):
            yield f"two samples of the latents {name!r} of an image get the same noise; {_ADVICE}"
        elif not np.allclose(noise[rows:], moved[:-rows], atol=1e-4):
            yield f"the noise of a sample of {name!r} depends on the part that its image is in; {_ADVICE}"


@check("the order of the latents")
def check_latents(factory, image_shape) -> Iterator[str]:
    """Checks that latents that were inferred stand for the same image, and have the same p, when given."""
    model = subjects.made(factory, image_shape)
    if not isinstance(model, LatentModel):
        return
    batch = subjects.floats(model, image_shape)
    inferred = subjects.forward(model, batch)
    given = Generated(
        given={name: draw.value for name, draw in inferred.draws.items()}, labels=batch.get("labels")
    )

    def generate():
        with random.keyed(1, "check", 1):  # Other noise than in `forward`.
            return model.likelihood_of(model.draw_latents(given, None), given)

    images = call(generate).mean
    if given.draws.keys() != inferred.draws.keys():
        asked = list(inferred.draws), list(given.draws)
        yield f"`draw_latents` asks for {asked[0]} in training and {asked[1]} in sampling; ask for the same"
        return
    if not np.allclose(images, inferred.reconstruction.mean, rtol=1e-4, atol=1e-5):
        yield (
            "the latents that `forward` drew stand for other images when they are given to `decode`: let the "
            "pass decide all latents, in one order (`one_pass.draw`), and draw no other noise in use"
        )
    for name, draw in inferred.draws.items():
        if draw.has_densities and not np.allclose(
            draw.log_prior, given.draws[name].log_prior, rtol=1e-4, atol=1e-4
        ):
            yield (
                f"p of the latents {name!r} is another one in training than in sampling; it may depend on "
                "latents that were drawn before and on labels, not on the evidence"
            )


def _noise(draw):
    value = np.asarray(tf.cast(draw.value, "float64"))
    return value - np.broadcast_to(tf.cast(draw.posterior.center, "float64"), value.shape)


def _has_equal_rows(noise):
    return len(np.unique(noise.reshape(len(noise), -1), axis=0)) < len(noise)
