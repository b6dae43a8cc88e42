"""Checks what a dataset of the user's returns, before anything is trained on it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from vaeflow.datasets.augmented import AugmentedSplit
from vaeflow.datasets.base import Dataset, Split
from vaeflow.errors import ConfigurationError, DataError, user_code

_NUM_TRIED = 3
# How many images, spread over a split, are searched for pixels that are no levels; and how far from
# one, in levels, float32 pixels may be, which 2^20 levels need.
_NUM_SEEN = 100
_MOST_ROUNDING = 0.04
# What a split may hold -> which datasets give it.
_SOURCES = {
    "images": "a dataset of images",
    "codes": "@Codes(), which reads what `vaeflow encode` wrote",
    "latents": "@Latents(), which reads what `vaeflow encode` wrote",
}
# What it holds -> which other models take it.
_ADVICE = {"latents": ", such as DiffusionPrior, or a VAE with `VAE.takes = 'latents'`"}


def load_split(dataset: Dataset, name: str) -> Split:
    """Calls `Dataset.load`, and checks what it returns.

    Raises:
      DataError: it fails, or returns something else than it should.
    """
    with user_code.running(dataset, "load", DataError):
        split = dataset.load(name)
    return _checked(dataset, "load", split)


def load_grid(dataset: Dataset) -> Split | None:
    """Calls `Dataset.load_grid`, and checks what it returns.

    Raises:
      DataError: it fails, or returns something else than it should.
    """
    with user_code.running(dataset, "load_grid", DataError):
        split = dataset.load_grid()
    return None if split is None else _checked(dataset, "load_grid", split)


def _checked(dataset: Dataset, method: str, split: Any) -> Split:
    if not isinstance(split, Split):
        given = user_code.described(split)
        raise _wrong(
            dataset, method, f"must return a Split, such as InMemorySplit(images), it returned {given}"
        )
    check_examples(split)
    return split


def check_examples(split: Split) -> None:
    """Reads a few images of a split of the user's own class, as training does: inside `tf.data`.

    Raises:
      DataError: it fails, or the images have another shape, dtype or range than it says.
    """
    if split.array is not None or not user_code.is_users(split):
        return
    count = min(_NUM_TRIED, split.num_examples)
    with user_code.running(split, "examples", DataError):
        images = _read(split.examples, np.arange(count))
    expected = (count, *split.shape)
    if not isinstance(images, tf.Tensor) or images.shape != expected or images.dtype != split.dtype:
        given = user_code.described(images)
        announced = f"a tensor of the shape {expected} and {split.dtype}, as its constructor says"
        raise _wrong(split, "examples", f"must return {announced}, for {count} indices; it returned {given}")
    try:
        if split.content == "images":
            _check_range(np.asarray(images), "images")
    except DataError as error:
        raise _wrong(split, "examples", f"returns wrong pixels: {error}") from None


def check_augmentations(split: Split) -> None:
    """Changes a few images of a split as training does, if one of its augmentations is the user's own.

    Raises:
      ConfigurationError: it fails, or returns something else than it should.
    """
    if not isinstance(split, AugmentedSplit) or not any(map(user_code.is_users, split.augmentations)):
        return
    indices = tf.range(min(_NUM_TRIED, split.num_examples), dtype=tf.int64)
    stored = split.training_examples(indices, 0, tf.constant(0, tf.int64))
    split.training_floats(stored, "float32", 0, 0)


def check_reads(model: Any, split: Split) -> None:
    """Checks that a split has what a model takes, and what it reads of each example besides.

    Args:
      model: a model, whose `reads` and `label_sizes` are checked already.
      split: the split.

    Raises:
      ConfigurationError: it is of another content, has no labels, the model was made for other
        labels or codes, or its likelihood for other pixels.
      DataError: as for `check_labels`.
    """
    own = type(model).__name__
    if split.content != model.takes:
        raise ConfigurationError(
            f"{own} takes {model.takes}, and the data are {split.content}; set `train.dataset` to "
            f"{_SOURCES.get(model.takes, 'data of that kind')}, or train another model"
            f"{_ADVICE.get(split.content, '')}"
        )
    if model.code_sizes:
        given, expected = tuple(split.code_sizes), tuple(model.code_sizes)
        if given not in (expected, expected * len(given)):
            raise ConfigurationError(
                f"{own} was made for codes with {list(expected)} values, this data has {list(given)}; set "
                f"`{own}.code_sizes = {list(given)}`"
            )
    likelihood = getattr(model, "likelihood", None)
    if split.content == "latents" and likelihood is not None and not likelihood.of_any_numbers:
        raise ConfigurationError(
            f"{type(likelihood).__name__} is for pixels, and latents are any numbers; set "
            f"`{own}.likelihood` to @GaussianLikelihood()"
        )
    _check_levels(likelihood, split)
    if "labels" not in model.reads:
        return
    if not split.factor_names:
        raise ConfigurationError(
            f"{own} needs a label of each image, and this {type(split).__name__} has none; choose data with "
            "labels, name them in the settings of the dataset, or train a model that reads none"
        )
    if split.has_unknown_labels and not model.takes_unknown_labels:
        raise ConfigurationError(
            f"{own} needs the label of each image, and `num_labelled` of the dataset hides most; leave "
            "`num_labelled` out, or train a model that learns from both, such as M2"
        )
    sizes = tuple(split.factor_sizes)
    fits = len(sizes) == len(model.label_sizes)
    if not fits or any(size > most for size, most in zip(sizes, model.label_sizes, strict=True)):
        found = ", ".join(f"{name} ({size})" for name, size in zip(split.factor_names, sizes, strict=True))
        classes = [size - split.has_unknown_labels for size in sizes]
        raise ConfigurationError(
            f"{own} was made for labels with {list(model.label_sizes)} values, this data has {found}; set "
            f"`{own}.num_classes = {classes}`"
        )
    check_labels(split, split.factor_names, model.label_sizes)


def check_pairs(model: Any, split: Split) -> None:
    """Raises `ConfigurationError` unless a model that trains on pairs of images gets these, and no other."""
    if model.trains_on_pairs and not split.has_pairs:
        raise ConfigurationError(
            f"{type(model).__name__} trains on pairs of images, and the data are single ones; set "
            "`train.dataset` to a source of pairs, such as @SpritePairs(), or train another model"
        )
    if split.has_pairs and not model.trains_on_pairs:
        raise ConfigurationError(
            f"the data are pairs of images, and {type(model).__name__} trains on single ones; choose other "
            "data, or a model that trains on pairs, such as AdaGVAE"
        )


def _check_levels(likelihood: Any, split: Split) -> None:
    """Raises `ConfigurationError` where a likelihood needs levels, and some images that it reads have none.

    Of binarized pixels both values are levels, but no counts.
    """
    num_levels = getattr(likelihood, "num_levels", None)
    if num_levels is None:
        return
    own, steps = type(likelihood).__name__, num_levels - 1
    if split.binarization != "none":
        if likelihood.of_counts and steps > 1:
            raise ConfigurationError(
                f"{own} is for counts of 0 to {steps}, and these pixels are binarized; set the dataset's "
                "`binarization` to 'none', or train with @BernoulliLikelihood()"
            )
        return
    if split.dtype == "uint8" and num_levels == 256:
        return
    indices = np.unique(np.linspace(0, split.num_examples - 1, _NUM_SEEN).astype(np.int64))
    pixels = np.asarray(_read(split.examples, indices), np.float64) / (255 if split.dtype == "uint8" else 1)
    off = np.abs(pixels * steps - np.round(pixels * steps))
    if off.max() > _MOST_ROUNDING:
        example, *place = np.unravel_index(np.argmax(off), off.shape)
        setting = f"{own}.max_count = N" if likelihood.of_counts else f"{own}.num_levels = N + 1"
        raise ConfigurationError(
            f"{own} needs pixels that are whole multiples of 1/{steps}, and one of "
            f"{split.describe(int(indices[example]))} is {pixels[example, *place]:g}; for whole numbers of 0 "
            f"to N in files set `Arrays.pixel_range = (0, N)` and `{setting}`, or take a likelihood of other "
            "pixels, such as @GaussianLikelihood()"
        )


def check_labels(split: Split, names: Sequence[str], sizes: Sequence[int]) -> None:
    """Checks the labels of a split before a model reads them; call it for each split of a run.

    Args:
      split: the split.
      names: `factor_names` of the training split.
      sizes: `factor_sizes` of the training split.

    Raises:
      DataError: the split has other factors, or a label that training cannot have, or its class
        is the user's own and `labels` fails or returns something else than it should.
    """
    with user_code.running(split, "factor_sizes", DataError):
        own_names, own_sizes = tuple(split.factor_names), tuple(split.factor_sizes)
    if own_names != tuple(names) or len(own_sizes) != len(names):
        raise DataError(
            f"{type(split).__name__} has the factors ({', '.join(own_names)}) of sizes {own_sizes}, those of "
            f"training are ({', '.join(names)}) of sizes {tuple(sizes)}; expected the same in every split"
        )
    for name, own, size in zip(names, own_sizes, sizes, strict=True):
        if own > size:
            raise DataError(
                f"{type(split).__name__} has labels {name!r} from 0 to {own - 1}, those of training are 0 to "
                f"{size - 1}; remove the others, train on such examples too, or give both splits the same "
                "`factor_sizes`"
            )
    if names and user_code.is_users(split):
        _try_labels(split)


def _try_labels(split: Split) -> None:
    """Reads a few labels of a split of the user's own class, as training does: inside `tf.data`."""
    count = min(_NUM_TRIED, split.num_examples)
    with user_code.running(split, "labels", DataError):
        found = _read(split.labels, np.arange(count))
    expected = (count, len(split.factor_names))
    if not isinstance(found, tf.Tensor) or found.shape != expected or found.dtype != tf.int64:
        announced = f"an int64 tensor of the shape {expected} for {count} indices"
        raise _wrong(split, "labels", f"must return {announced}; it returned {user_code.described(found)}")
    row_and_factor = np.argwhere((found.numpy() < 0) | (found.numpy() >= split.factor_sizes))
    if len(row_and_factor):
        row, factor = row_and_factor[0]
        problem = f"returns {found[row, factor].numpy()} for {split.factor_names[factor]!r} of example {row}"
        raise _wrong(split, "labels", f"{problem}; expected 0 to {split.factor_sizes[factor] - 1}")


def _read(method: Callable[[tf.Tensor], tf.Tensor], indices: np.ndarray) -> Any:
    """Calls a method of a split for some examples, as training does: inside `tf.data`, without AutoGraph."""
    read = tf.autograph.experimental.do_not_convert(method)
    return next(iter(tf.data.Dataset.from_tensors(tf.constant(indices, tf.int64)).map(read)))


def _wrong(owner, doing, problem):
    return user_code.wrong(owner, doing, problem, DataError)


def _check_range(images: np.ndarray, what: str) -> None:
    """Raises `DataError` unless float images are all in [0, 1]; `what` names them."""
    if images.dtype != np.float32 or not images.size:
        return
    lowest, highest = float(np.min(images)), float(np.max(images))
    if not (lowest >= 0 and highest <= 1):  # Not a number is neither.
        raise DataError(
            f"{what} of float32 must have pixels in 0 to 1, they are {lowest:g} to {highest:g}; scale them, "
            "or give uint8 from 0 to 255"
        )
