"""Measures vaeflow, pythae, Keras, PyTorch and JAX in turn on this machine's CPU, and writes the tables.

    python -m benchmarks.run
    python -m benchmarks.run --all
    python -m benchmarks.run --workloads=dense_128,conv64_64 --quick

The first run creates an environment for the peers and draws the images. The tables go to
benchmarks/results.md and every single number to benchmarks/results.json, as each program ends. If a run is
cut, the same command goes on with the programs that are missing, as long as machine, versions, sources,
--rounds and --seconds are the same.

By default only the programs are measured that decide a target: vaeflow, and the peers with a tuned allocator.
--all adds the peers with the default allocator, resumes, and the rate of a matrix product. Let nothing
else run meanwhile.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys

from benchmarks import environments, load, report, targets
from benchmarks.measure import Settings, measure
from benchmarks.processes import REPOSITORY
from benchmarks.workloads import WORKLOADS
from vaeflow import registry
from vaeflow.errors import ConfigurationError, EnvironmentFailure, RunError
from vaeflow.runs import files, machine

_CACHE = REPOSITORY / "benchmarks" / ".cache"


def run(options):
    """Measures the chosen workloads and rewrites the tables after each program."""
    peers_python = options.peers_python or environments.make_for_peers(_log)
    whole = {
        "machine": environments.machine(),
        "versions": environments.versions(sys.executable, peers_python),
        "sources": environments.digest_of_sources(),
        "settings": {
            "num_rounds": options.rounds,
            "seconds": options.seconds,
            "num_cores": machine.num_cores(),
        },
        "workloads": {},
    }
    path = options.results / "results.json"
    if not options.fresh:
        whole["workloads"] = _of_a_cut_run(path, whole)
    _draw_sprites()
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        options.rounds,
        options.seconds,
        sys.executable,
        peers_python,
        _CACHE / "programs",
        _log,
        options.everything,
    )
    for name in options.workloads:
        found = whole["workloads"].setdefault(name, {"lines": []})["lines"]
        done = {_key(line) for line in found if _is_sound(line)}

        def keep(result, found=found):
            found[:] = [line for line in found if _key(line) != _key(result)] + [result]
            measured = whole["workloads"]
            whole["workloads"] = {each: measured[each] for each in WORKLOADS if each in measured}
            files.write_text(path, json.dumps(whole, indent=1) + "\n")
            files.write_text(path.with_suffix(".md"), report.markdown(whole))

        measure(name, settings, done, keep)
    _log(f"results: {path.with_suffix('.md')}")


def _of_a_cut_run(path, whole):
    """Returns the workloads of earlier results that were measured as these are to be; else none."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(f"{path} cannot be read: {error}; move it away") from None
    if any(earlier.get(key) != value for key, value in whole.items() if key != "workloads"):
        return {}
    _log(f"going on with {path}; --fresh measures everything again")
    return earlier["workloads"]


def _is_sound(line):
    others = targets.by_others(line, machine.num_cores())
    return not line["failure"] and others <= load.MOST_BY_OTHERS


def _key(line):
    return line["name"], line["tuned_allocator"]


def main(argv):
    """Runs the benchmark; returns the exit code."""
    try:
        run(_parse(argv))
        return 0
    except RunError as error:
        print(f"benchmarks.run: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigurationError(f"{message}; --help describes the options")


def _parse(argv):
    parser = _Parser(
        "python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--workloads",
        type=_names,
        default=list(WORKLOADS),
        help=f"some of {','.join(WORKLOADS)}; default: all",
    )
    parser.add_argument("--all", action="store_true", dest="everything", help="measure everything; see above")
    parser.add_argument("--rounds", type=_positive(int), help="how often each program trains; default: 3")
    parser.add_argument("--seconds", type=_positive(float), help="for how long each time; default: 1.5")
    parser.add_argument(
        "--fresh", action="store_true", help="begin anew instead of going on with a run that was cut"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one fresh round of one second, to check that every program "
        "works; the results go to benchmarks/.cache/quick"
    )  # fmt: skip
    parser.add_argument("--results", type=pathlib.Path, help="the folder of the tables; default: benchmarks")
    parser.add_argument(
        "--peers_python", type=_interpreter, help="an interpreter that has benchmarks/requirements.txt "
        "installed; default: one in benchmarks/.venv, created if needed"
    )  # fmt: skip
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1.0 if options.quick else 1.5)
    options.fresh = options.fresh or options.quick
    options.results = options.results or (_CACHE / "quick" if options.quick else REPOSITORY / "benchmarks")
    return options


def _names(text):
    names = text.split(",")
    for name in names:
        if name not in WORKLOADS:
            near = registry.did_you_mean(name, list(WORKLOADS))
            raise argparse.ArgumentTypeError(f"no workload is called {name!r}{near}")
    return names


def _positive(kind):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
        return value

    return parse


def _interpreter(text):
    if not os.access(text, os.X_OK) or pathlib.Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a Python interpreter, got {text!r}")
    # A virtual environment's interpreter is a link, which must not be followed.
    return str(pathlib.Path(text).absolute())


def _draw_sprites():
    # In a process of its own, which keeps the runner small and free of TensorFlow's threads.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sprites"], cwd=REPOSITORY, env=environment, stdout=sys.stderr
    )
    if done.returncode:
        raise EnvironmentFailure("the images cannot be drawn; see the message above")


def _log(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
