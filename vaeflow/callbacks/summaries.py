"""Writes what was measured to TensorBoard."""

import ast
import contextlib

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from vaeflow import registry
from vaeflow.callbacks.base import Callback


@registry.callback
class Summaries(Callback):
    """Writes every metric as a scalar, the configuration as text, and hyperparameters.

    Args:
      every_steps: how often; None for after each loop.
    """

    def __init__(self, every_steps=None):
        super().__init__(every_steps)

    def on_train_begin(self, run):
        with run.summaries():
            tf.summary.text("configuration", _as_code(run.configuration))
            tf.summary.text("run", _as_table(run.facts))
            hparams.hparams(_hyperparameters(run.configuration), trial_id=run.workdir.path.name)

    def on_log(self, run, metrics):
        with run.summaries():
            for name, value in metrics.items():
                tf.summary.scalar(name, value)


def _as_code(text):
    """Indents by four spaces: Markdown shows it as it is."""
    return "\n".join("    " + line for line in text.splitlines())


def _as_table(facts):
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in facts.items())])


def _hyperparameters(configuration):
    """Reads the bindings that are single values, but for those of callbacks: name -> value."""
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
