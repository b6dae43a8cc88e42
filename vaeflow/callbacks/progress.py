"""Shows the run on the terminal."""

import math
import os
import sys
import time

from vaeflow import registry, validation
from vaeflow.callbacks.base import Callback

_BAR_WIDTH = 20

# Metric -> how it is called on the line.
_SHOWN = {
    "train/loss": "loss",
    "train/reconstruction_loss": "reconstruction",
    "train/kl": "kl",
    "evaluation/negative_elbo": "negative elbo (evaluation)",
}


@registry.callback
class Progress(Callback):
    """A bar with step, rate, time left and the main terms; plain lines where there is no terminal.

    Args:
      every_seconds: how often a plain line is printed at most.
    """

    def __init__(self, every_seconds=5.0):
        super().__init__()
        self.every_seconds = validation.non_negative_number("Progress.every_seconds", every_seconds)

    def on_train_begin(self, run):
        self._terminal = sys.stderr.isatty()
        self._first_log = None
        self._last_line = -math.inf
        width = max(map(len, run.facts), default=0)
        for name, text in run.facts.items():
            self._print(f"{name:<{width}}  {text}\n")

    def on_log(self, run, metrics):
        now = time.monotonic()
        if self._first_log is None:
            # The first loop compiles; its time says nothing of the next.
            self._first_log = (now, run.step)
        if not self._terminal and now - self._last_line < self.every_seconds and run.step < run.num_steps:
            return
        self._last_line = now
        line = self._line(run, metrics, now)
        self._print(f"\r\033[K{line}" if self._terminal else line + "\n")

    def on_train_end(self, run):
        if self._terminal:
            self._print("\n")

    def _line(self, run, metrics, now):
        parts = [f"step {run.step:,}/{run.num_steps:,}", f"{metrics['examples_per_second']:,.0f} images/s"]
        began, first_step = self._first_log
        if run.step > first_step:
            seconds = (now - began) / (run.step - first_step) * (run.num_steps - run.step)
            parts.append(f"{_duration(seconds)} left")
        parts += [f"{label} {run.metrics[name]:.2f}" for name, label in _SHOWN.items() if name in run.metrics]
        if not self._terminal:
            return "  ".join(parts)
        done = int(_BAR_WIDTH * run.step / run.num_steps)
        line = "  ".join(["█" * done + "░" * (_BAR_WIDTH - done), *parts])
        # A line that wraps could not be overwritten.
        return line[: os.get_terminal_size(sys.stderr.fileno()).columns - 1]

    def _print(self, text):
        sys.stderr.write(text)
        sys.stderr.flush()


def _duration(seconds):
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
