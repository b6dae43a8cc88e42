"""Shows the run on the terminal."""

import sys
import time

from vaeflow import registry
from vaeflow.callbacks.base import Callback

_SHOWN = ("train/loss", "train/reconstruction_loss", "train/kl", "evaluation/negative_elbo")


@registry.callback
class Progress(Callback):
    """A bar with step, rate, time left and the main terms; plain lines where there is no terminal.

    Args:
      every_seconds: how often a plain line is printed at most.
    """

    def __init__(self, every_seconds=5.0):
        super().__init__()
        self.every_seconds = every_seconds

    def on_train_begin(self, run):
        self._terminal = sys.stderr.isatty()
        self._started, self._first_step = time.monotonic(), run.step
        self._last_line = self._started - self.every_seconds
        width = max(map(len, run.facts), default=0)
        for name, text in run.facts.items():
            self._print(f"{name:<{width}}  {text}\n")

    def on_log(self, run, metrics):
        now = time.monotonic()
        if not self._terminal and now - self._last_line < self.every_seconds and run.step < run.num_steps:
            return
        self._last_line = now
        line = self._line(run, now)
        self._print(f"\r\033[K{line}" if self._terminal else line + "\n")

    def on_train_end(self, run):
        if self._terminal:
            self._print("\n")

    def _line(self, run, now):
        rate = (run.step - self._first_step) / max(now - self._started, 1e-9)
        left = (run.num_steps - run.step) / max(rate, 1e-9)
        parts = [
            f"step {run.step}/{run.num_steps}",
            f"{rate * run.trainer.batch_size:,.0f} images/s",
            f"{_duration(left)} left",
        ]
        for name in _SHOWN:
            if name in run.metrics:
                parts.append(f"{name.removeprefix('train/')} {run.metrics[name]:.2f}")
        if self._terminal:
            done = int(20 * run.step / run.num_steps)
            parts.insert(0, "█" * done + "░" * (20 - done))
        return "  ".join(parts)

    def _print(self, text):
        sys.stderr.write(text)
        sys.stderr.flush()


def _duration(seconds):
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
