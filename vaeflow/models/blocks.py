"""What models ask of their blocks, which may be the user's: shapes and distributions, checked."""

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from vaeflow.errors import ConfigurationError, RunError, user_code


def distribution_of(block: Any, argument: Any, needed: str, example: str, step: Any = None) -> Any:
    """Calls `distribution` of a block, and checks what it returns.

    Args:
      block: a posterior, prior or likelihood.
      argument: of the call.
      needed: the name of a method that every such distribution has.
      example: what it might return, for the message.
      step: the global step, for `distribution_in_training` of a posterior; None outside of training.

    Raises:
      ConfigurationError: the method fails, or returns something else.
    """
    with user_code.running(block, "distribution"):
        if step is None:
            distribution = block.distribution(argument)
        else:
            distribution = block.distribution_in_training(argument, step)
    if not hasattr(distribution, needed):
        given = user_code.described(distribution)
        problem = f"must return a distribution, such as {example}, it returned {given}"
        raise user_code.wrong(block, "distribution", problem)
    return distribution


def wrong_output(block: Any, shape: Sequence[int | None], needed: str) -> RunError:
    """Makes the error of a block that returns a tensor of the wrong shape.

    Args:
      block: the block.
      shape: what it returns, with None for the batch.
      needed: what it must return, for the message.
    """
    returned = f"returns a tensor of the shape {shape_text(shape[1:])}"
    return user_code.wrong(block, "call", f"{returned}, it must return {needed}")


def checked_image_shape(model: Any, input_shape: Sequence[int | None]) -> tuple[Any, ...]:
    """Returns `(H, W, C)` of the shape that a model is built for; raises `ValueError` for no images."""
    if len(input_shape) != 4:
        raise ValueError(
            f"{type(model).__name__} expects images of shape [B, H, W, C], got {tuple(input_shape)}; "
            "add a channel axis, as in images[..., None]"
        )
    return tuple(input_shape[1:])


def check_images(model: Any, images: Any, expected: Sequence[int]) -> None:
    """Raises `ConfigurationError` unless images `[B, H, W, C]` have the size that a model was built for."""
    shape = tf.TensorShape(images.shape)
    if shape.rank != 4 or not shape[1:].is_compatible_with(expected):
        advice = "; add a channel axis, as in images[..., None]" if shape.rank == 3 else ""
        raise ConfigurationError(
            f"this {type(model).__name__} was built for images of the shape {shape_text(expected)}, got "
            f"{shape_text(shape[1:])}{advice}"
        )


def check_features(encoder: Any, posterior: Any, shape: Sequence[int | None]) -> None:
    """Raises an error unless an encoder returns features of the rank that the posterior takes."""
    rank, name = posterior.features_rank, type(posterior).__name__
    if len(shape) != rank:
        advice = "; end it with Flatten()" if rank == 2 else f" for {name}"
        raise wrong_output(encoder, shape, f"features {_axes(rank, 'F')}{advice}")


def check_codes(model: Any, codes: Any = None) -> None:
    """Raises `ConfigurationError` unless the posterior of a model has codes, and these among them.

    Args:
      model: with a `posterior`.
      codes: integers `[b, h, w, G]`; None checks the model alone. A graph knows only their shape.
    """
    name, posterior = type(model).__name__, type(model.posterior).__name__
    sizes = getattr(model.posterior, "code_sizes", None)
    if sizes is None:
        raise ConfigurationError(
            f"{name} has no codes: its posterior is {posterior}; set `{name}.posterior` to a quantizer, such "
            "as @VectorQuantizer()"
        )
    if codes is None:
        return
    given = tf.convert_to_tensor(codes)
    if not given.dtype.is_integer or given.shape.rank != 4 or given.shape[-1] != len(sizes):
        raise ConfigurationError(
            f"the codes of {posterior} are integers of the shape [b, h, w, {len(sizes)}], got "
            f"{given.dtype.name} of the shape {tuple(given.shape)}"
        )
    if tf.executing_eagerly() and bool(tf.reduce_any((given < 0) | (given >= tf.cast(sizes, given.dtype)))):
        known = " and ".join(f"0 to {size - 1}" for size in sizes)
        raise ConfigurationError(
            f"{posterior} has codes from {known}, got {int(tf.reduce_min(given))} to "
            f"{int(tf.reduce_max(given))}"
        )


def check_latents(blocks: Iterable[Any], posterior: Any, shape: Sequence[int | None]) -> None:
    """Raises `ConfigurationError` where a model, prior or decoder takes latents of another rank."""
    for block in blocks:
        rank = getattr(block, "latents_rank", None)
        if rank not in (None, len(shape)):
            raise ConfigurationError(
                f"{type(block).__name__} takes latents {_axes(rank, 'D')}, and those of "
                f"{type(posterior).__name__} are {shape_text(shape[1:])}; choose another in place of one of "
                "the two"
            )


def check_decoder(model: Any, outputs_shape: Sequence[int | None], image_shape: Sequence[int]) -> None:
    """Raises an error unless the `decoder` returns what the `likelihood` needs of images `(H, W, C)`."""
    if tuple(outputs_shape[1:]) != tuple(model.decoder.target_shape):
        needed = f"{shape_text(model.decoder.target_shape)} for images of {shape_text(image_shape)} and "
        needed += f"{type(model.likelihood).__name__}; it finds that shape in its `target_shape`"
        raise wrong_output(model.decoder, outputs_shape, needed)


def _axes(rank: int, last: str) -> str:
    """Names the axes of vectors, of rank 2, or of maps of them, of rank 4."""
    return f"[{', '.join(['B', *'hw'[: rank - 2], last])}]"


def shape_text(sizes: Iterable[int | None]) -> str:
    """Writes the shape of a batch whose examples have `sizes`, as in `[B, 28, 28, 1]`."""
    return f"[{', '.join(['B', *('?' if size is None else str(size) for size in sizes)])}]"
