"""Writes metrics, configuration and hyperparameters to TensorBoard."""

import ast
import contextlib
import hashlib

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from vaeflow import registry
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.runs import files
from vaeflow.runs.escaping import markdown, printable

_HYPERPARAMETERS = ".hyperparameters"  # How the name of their file ends.


@registry.callback
class Summaries(Callback):
    """Writes every metric as a scalar, the configuration as text, and hyperparameters.

    Args:
      every_steps: how often; None for after each loop.
    """

    def __init__(self, every_steps: int | None = None) -> None:
        super().__init__(every_steps)

    def on_train_begin(self, run: RunContext) -> None:
        _write_hyperparameters(run)  # First: TensorBoard stays with the newest file, which must grow.
        with run.summaries():
            tf.summary.text("configuration", _as_code(run.configuration))
            tf.summary.text("run", _as_table(run.facts))

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        with run.summaries():
            for name, value in metrics.items():
                tf.summary.scalar(name, value)


def _write_hyperparameters(run: RunContext) -> None:
    """Writes the hyperparameters to a file of their own, in place of those of an earlier session.

    TensorBoard shows the first that it finds in a folder, and takes two folders for one trial
    if their identifiers agree.
    """
    folder = run.workdir.tensorboard
    digest = hashlib.sha256(bytes(run.workdir.path.resolve())).hexdigest()
    trial = f"{printable(run.workdir.path.name)} {digest[:8]}"
    try:
        for earlier in folder.glob(f"*{_HYPERPARAMETERS}"):
            earlier.unlink(missing_ok=True)
        writer = tf.summary.create_file_writer(str(folder), filename_suffix=_HYPERPARAMETERS)
        with writer.as_default(step=0):
            hparams.hparams(_hyperparameters(run.configuration), trial_id=trial)
        writer.close()
    except (OSError, tf.errors.OpError) as error:
        raise files.failure(folder, error) from error


def _as_code(text: str) -> str:
    """Indents by four spaces, so that Markdown shows the text as it is."""
    return "\n".join("    " + line for line in printable(text).splitlines())


def _as_table(facts: dict[str, str]) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {markdown(text)} |" for name, text in facts.items())]
    )


def _hyperparameters(configuration: str) -> dict[str, bool | int | float | str]:
    """Reads the bindings of single values, except those of callbacks."""
    skipped = ("train.callbacks", *(f"{entry.name}." for entry in registry.entries("callback")))
    found = {}
    for line in configuration.splitlines():
        name, equals, value = line.partition(" = ")
        if not equals or line.startswith((" ", "#", *skipped)):
            continue
        # Not a reference such as @Adam, nor a list that continues in the next line.
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
        if isinstance(value, (bool, int, float, str)):
            found[name] = value
    return found
