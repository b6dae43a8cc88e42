"""Writes metrics, configuration and hyperparameters to TensorBoard."""

import ast
import contextlib
import hashlib
import re

import tensorflow as tf
from tensorboard.plugins.custom_scalar import metadata
from tensorboard.plugins.hparams import api as hparams

from vaeflow import registry, validation
from vaeflow.callbacks import tensorboard_tags
from vaeflow.callbacks.base import Callback, RunContext
from vaeflow.runs import files
from vaeflow.runs.escaping import markdown, printable

_HYPERPARAMETERS = ".hyperparameters"  # How the name of their file ends.
_OF_LATENTS = (
    "How many latents have a KL of so many nats: a peak at 0 are those that say nothing of the images."
)
_BINDING = re.compile(r"([\w./]+)\.\w+ = ")


@registry.callback
class Summaries(Callback):
    """Writes every metric as a scalar, the configuration as text, and hyperparameters.

    The page "Custom Scalars" arranges the scalars by what one asks of a run: is it learning, is it
    collapsing, is it fast. Each scalar says what it means and its unit.

    Args:
      every_steps: how often; None for after each loop.
      max_latents: the KL of each latent is a scalar; of more latents than this, one histogram.
    """

    only_reports = True

    def __init__(self, every_steps: int | None = None, max_latents: int = 16) -> None:
        super().__init__(every_steps)
        self.max_latents = validation.positive_integer("Summaries.max_latents", max_latents)

    def on_train_begin(self, run: RunContext) -> None:
        _write_hyperparameters(run)  # First: TensorBoard stays with the newest file, which must grow.
        self._tags: set[str] = set()
        self._num_arranged = 0
        with run.summaries():
            tf.summary.text("configuration", _as_sections(run.configuration))
            tf.summary.text("run", _as_table(run.facts))

    def on_log(self, run: RunContext, metrics: dict[str, float]) -> None:
        histograms = tensorboard_tags.histograms(metrics, self.max_latents)
        # On the host: a GPU would do this after the loop that is under way.
        with run.summaries(), tf.device("CPU:0"):
            for name, value in metrics.items():
                tag = tensorboard_tags.tag_of(name)
                if tag.rpartition("/")[0] not in histograms:
                    tf.summary.scalar(tag, value, description=tensorboard_tags.meaning_of(name))
                    self._tags.add(tag)
            for tag, values in histograms.items():
                tf.summary.histogram(tag, values, description=_OF_LATENTS)
            self._write_layout()

    def _write_layout(self) -> None:
        """Arranges the scalars anew where there are more of them than before."""
        if len(self._tags) > self._num_arranged:
            self._num_arranged = len(self._tags)
            content = tensorboard_tags.layout(self._tags).SerializeToString()
            tf.summary.write(
                metadata.CONFIG_SUMMARY_TAG, content, metadata=metadata.create_summary_metadata()
            )


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


def _as_sections(text: str) -> str:
    """Writes the configuration as Markdown: a heading for each object, and its lines as they are."""
    lines, owner = [], None
    for line in printable(text).splitlines():
        found = _BINDING.match(line)
        if found is not None and found[1] != owner:
            owner = found[1]
            lines += ["", f"#### {markdown(owner)}", ""]
        lines.append("    " + line)  # Indented by four spaces, Markdown shows a line as it is.
    return "\n".join(lines)


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
