"""How the runner and a program that trains talk: a command a line to it, a JSON object a line back.

A program trains one step and says so. From then on it trains only while a window lasts: at
`run SECONDS` it goes on for that long and answers what it did; `end` ends it. Between the windows it
sleeps in a read of its standard input, wherever in its own training loop that happens to be.

Imports the standard library only: it runs in the environment of vaeflow and in that of the peers.
"""

import argparse
import json
import os
import sys
import time


class Ended(Exception):
    """The runner wants no more of this program."""


def arguments():
    """Parses what the runner starts every program with.

    Returns:
      A namespace: `workload`, a name; `folder`, where the program may keep its state and finds it
      again; `variant`, which of a program's ways to train; `num_replicas`, of vaeflow.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--workload", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--variant", default="")
    parser.add_argument("--num_replicas", type=int, default=1)
    return parser.parse_args()


class Session:
    """The program's end of the talk.

    Args:
      **facts: what the program tells of itself with each answer.

    Attributes:
      facts: those, a dict; more may be added.
      window_seconds: how long the present window is to last.
    """

    def __init__(self, **facts):
        # Libraries print to standard output too: give them the log instead.
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.facts = facts
        self.window_seconds = None

    def after_step(self, num_images, num_steps=1):
        """Tells that steps were trained; returns when the program is to train on.

        Args:
          num_images: how many images those steps took together.
          num_steps: how many steps they were.

        Raises:
          Ended: the program is to save its state, where it can, and to exit.
        """
        if self.window_seconds is None:
            self.answer()
            return
        self._num_images += num_images
        self._num_steps += num_steps
        seconds = time.perf_counter() - self._began
        if seconds >= self.window_seconds:
            self.answer(
                images=self._num_images,
                steps=self._num_steps,
                seconds=seconds,
                peak_mebibytes=peak_mebibytes(),
            )

    def answer(self, **content):
        """Answers, and waits for the next window to begin; raises as `after_step`."""
        self._answers.write(json.dumps(self.facts | content) + "\n")
        self._answers.flush()
        command, _, argument = sys.stdin.readline().strip().partition(" ")
        if command != "run":  # `end`, or the end of the input: the runner is gone.
            raise Ended
        self.window_seconds = float(argument)
        self._num_images = self._num_steps = 0
        self._began = time.perf_counter()


def peak_mebibytes():
    """Returns the most memory that this process had resident so far, or None where Linux does not say."""
    try:
        with open("/proc/self/status") as status:
            # Not getrusage: its maximum begins with that of the process that started this one.
            kibibytes = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    except OSError:
        return None
    return int(kibibytes[0]) / 1024 if kibibytes else None
