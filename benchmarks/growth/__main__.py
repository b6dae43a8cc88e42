"""Measures how time and memory grow, on the CPU, and writes the tables.

    python -m benchmarks.growth
    python -m benchmarks.growth --axes=batch,order --rounds=1 --results=/tmp/growth

Along each axis (batch, image_size, width, latents, examples, input, order, replicas, checkpoint) each
point is measured in a fresh process, in rounds. A run that is cut short goes on when the same command is
repeated. At the end the tables go to benchmarks/growth.md and every number to benchmarks/growth.json. It
takes about 15 minutes on 2 cores; let nothing else run meanwhile.
"""

import os
import pathlib
import sys
import time

from absl import flags

from benchmarks import environments, load
from benchmarks.growth import points, table
from benchmarks.processes import REPOSITORY
from vaeflow.commands import command_line
from vaeflow.devices import allocator
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.profiling import cases
from vaeflow.profiling.cases import Case
from vaeflow.profiling.processes import Measurer
from vaeflow.registry import did_you_mean
from vaeflow.runs import asking, files, json_files, machine

_UNFINISHED = "unfinished.json"


def define_flags(values):
    """Adds the flags of this command."""
    names = ", ".join(points.AXES)
    flags.DEFINE_list("axes", list(points.AXES), f"Some of {names}.", flag_values=values)
    flags.DEFINE_float("seconds", 2.0, "How long each process measures.", 0.01, flag_values=values)
    flags.DEFINE_integer("rounds", 2, "How often each point is measured.", 1, flag_values=values)
    flags.DEFINE_string(
        "results", str(REPOSITORY / "benchmarks"), "The folder of the tables.", flag_values=values
    )


def run(values):
    """Measures what is missing, and writes the tables."""
    for name in values.axes:
        if name not in points.AXES:
            raise ConfigurationError(f"no axis is called {name!r}{did_you_mean(name, list(points.AXES))}")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    facts = {
        "machine": environments.machine(),
        "versions": environments.versions_of_vaeflow(),
        "settings": {
            "axes": values.axes,
            "rounds": values.rounds,
            "seconds": values.seconds,
            "num_cores": machine.num_cores(),
        },
    }
    state = _resumed(facts)
    chosen = {point.key: point for name in values.axes for point in points.AXES[name]}
    progress = _Progress(values.rounds * len(chosen), sum(map(len, state["measured"].values())))

    def measure(key):
        progress.show(key)
        found = _measure(chosen[key], values.seconds)
        state["measured"].setdefault(key, []).append(found)
        json_files.write(points.CACHE / _UNFINISHED, state)
        return found

    _, state["failed"] = cases.alternate(measure, list(chosen), values.rounds, state["measured"])
    folder = pathlib.Path(values.results)
    folder.mkdir(parents=True, exist_ok=True)
    json_files.write(folder / "growth.json", state)
    files.write_text(folder / "growth.md", table.markdown(state))
    (points.CACHE / _UNFINISHED).unlink(missing_ok=True)
    print(f"written to {folder / 'growth.md'} and growth.json")


def _resumed(facts):
    """Returns the state of a run with these facts that was cut short, or that of a new one."""
    path = points.CACHE / _UNFINISHED
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            state = json_files.read(path, dict.fromkeys([*facts, "measured"], json_files.OBJECT))
        except (OSError, json_files.MalformedError) as error:
            raise EnvironmentFailure(f"{path} cannot be read: {error}; remove it to start anew") from error
        if all(state[name] == value for name, value in facts.items()):
            print(f"going on with {path}", file=sys.stderr)
            return state
        print(f"{path} is of other settings, code or another machine: starting anew", file=sys.stderr)
    return facts | {"measured": {}, "failed": {}}


def _measure(point, seconds):
    """Measures a point in a fresh process, with what others used of the cores meanwhile."""
    started, others = time.monotonic(), _seconds_of_others()
    found = _ask(point, seconds)
    others = _seconds_of_others() - others
    return found | {"others_cores": max(0.0, others / (time.monotonic() - started))}


def _ask(point, seconds):
    request = {"kind": point.kind, "seconds": seconds}
    if point.kind == "order":
        request |= {"examples": point.value, "images_per_second": points.ORDER_RATE}
    else:
        configuration = str(points.write_configuration(point, points.CACHE))
        if point.kind == "train":
            measurer = Measurer(configuration, (), seconds, virtual=point.devices > 1)
            return measurer.measure(Case(devices=point.devices), arithmetic=point.key == points.BASE.key)
        request["configuration"] = configuration
    tuned = allocator.tuned(os.environ)
    return asking.ask("benchmarks.growth.process", request, "a measuring process", tuned)


def _seconds_of_others():
    """The processor time of all other processes so far; those that this one has waited for are its own."""
    own = os.times()
    return load.cpu_seconds_of_machine() - sum(own[:4])


class _Progress:
    """Lines on stderr that say what is measured, and about how long it will take."""

    def __init__(self, number, done):
        self._number, self._done, self._begun = number, done, done
        self._started = time.monotonic()

    def show(self, key):
        text = f"[{self._begun + 1}/{self._number}] {key}"
        if self._begun > self._done:
            each = (time.monotonic() - self._started) / (self._begun - self._done)
            text += f"; about {each * (self._number - self._begun) / 60:.0f} min left"
        self._begun += 1
        print(text, file=sys.stderr, flush=True)


COMMAND = command_line.Command("growth", __doc__, run, define_flags=define_flags)

if __name__ == "__main__":
    sys.exit(command_line.main(COMMAND, sys.argv[1:], prefix="python -m benchmarks."))
