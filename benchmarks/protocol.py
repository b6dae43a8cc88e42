"""The protocol between the runner and a program that trains: lines of commands, answered by lines of JSON.

A program trains one step and reports it. After that it trains only in windows: on `run SECONDS`
it trains for that long and answers with what it did; on `end` it ends. Between windows it sleeps
in a read of its standard input, wherever in its training loop that is.

It imports the standard library only, because it runs in vaeflow's environment and in the peers'.
"""

import argparse
import json
import os
import pathlib
import sys
import time


class EndedError(Exception):
    """The runner asks this program to end."""


def arguments():
    """Parses the arguments that the runner gives to every program.

    Returns:
      A namespace: `workload`, a name; `folder`, where the program keeps its state between starts;
      `variant`, which of a program's ways to train; `num_replicas`, for vaeflow; `device`, `"cpu"` or
      `"gpu"`; `precision`, `"float32"` or `"bfloat16"`.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--variant", default="")
    parser.add_argument("--num_replicas", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


class Session:
    """The program's end of the protocol.

    Args:
      **facts: what the program reports about itself with each answer.

    Attributes:
      facts: the same as a dict; more may be added.
      window_seconds: the length of the current window.
      helpers: ids of further processes that train for this one; their memory is counted.
    """

    def __init__(self, **facts):
        # Libraries print to standard output too; their lines go to the log.
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.facts = facts
        self.window_seconds = None
        self.helpers = []

    def after_step(self, num_images, num_steps=1, finish=lambda: None):
        """Reports trained steps; returns when the program should continue.

        Args:
          num_images: the number of images in these steps.
          num_steps: the number of steps.
          finish: called before the program answers; waits for steps that the library still computes.

        Raises:
          EndedError: the program should save its state, if it can, and exit.
        """
        if self.window_seconds is None:
            finish()
            self.answer()
            return
        self._num_images += num_images
        self._num_steps += num_steps
        if time.perf_counter() - self._began >= self.window_seconds:
            finish()
            self.answer(
                images=self._num_images,
                steps=self._num_steps,
                seconds=time.perf_counter() - self._began,
                peak_mebibytes=peak_mebibytes(self.helpers),
            )

    def answer(self, **content):
        """Answers, and waits for the next window; raises like `after_step`."""
        self._answers.write(json.dumps(self.facts | content) + "\n")
        self._answers.flush()
        command, _, argument = sys.stdin.readline().strip().partition(" ")
        if command != "run":  # `end`, or the end of the input because the runner is gone.
            raise EndedError
        self.window_seconds = float(argument)
        self._num_images = self._num_steps = 0
        self._began = time.perf_counter()


def peak_mebibytes(helpers=()):
    """Returns the peak resident memory of this process and its helpers, or None if it is not reported."""
    try:
        return sum(_peak_mebibytes(each) for each in ("self", *helpers))
    except (OSError, ValueError):
        return None


def _peak_mebibytes(process_id):
    with pathlib.Path(f"/proc/{process_id}/status").open(encoding="utf-8") as status:
        # Not getrusage, whose maximum includes the process that started this one.
        (kibibytes,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    return int(kibibytes) / 1024
