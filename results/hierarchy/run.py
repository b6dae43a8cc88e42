"""Trains hierarchies of different depth on photographs for an equal time, evaluates and records them.

    python -m results.hierarchy.run
    python -m results.hierarchy.run --seconds=300 --names=groups_2,groups_16 --seeds=0

Each is `hierarchical_vae.gin` with another number of groups of latents, on the same maps. What a step of each
costs is measured first, by a training of 100 steps; then each is trained for as many steps as fit into the
time. After the last step the bits per dimension of the bound, of held-out patches, are computed. As in
Child 2021 (arXiv:2011.10650, Table 1), where the depth grows too; there at an equal number of steps.

The measured seconds, and the numbers of steps that follow, are kept in RUNS/steps.json, so that a command
that was stopped goes on when it is repeated; delete the file to measure again. Nothing else should run
meanwhile. Writes a record NAME-SEED.json of each run to this folder; `python -m results.page` puts the
table of all records into docs/models.md. By calculation the defaults take an hour and a quarter;
with --seconds=600 and one core for each of two commands at a time, all four took 37 minutes beside other
work.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess
import sys

from results import tables
from results.arguments import names_of, numbers
from results.records import seeds_of
from vaeflow.commands.studies.report import page, spreads

HERE = pathlib.Path(__file__).parent
# How many groups are on the maps of 4x4, 8x8, 16x16 and 32x32.
GROUPS = {
    "groups_2": (1, 0, 0, 1),
    "groups_4": (1, 1, 1, 1),
    "groups_8": (1, 2, 3, 2),
    "groups_16": (2, 4, 6, 4),
}
COLUMNS = {
    "bits per dimension": "bits_per_dimension_is1",
    "negative ELBO, nats": "negative_elbo_nats",
    "KL, nats": "kl_nats",
}
_STEPS_PER_LOOP = 25
_NUM_TRIAL_LOOPS = 4


def train_command(name, workdir, num_steps, options):
    """Returns the command that trains a hierarchy, as a list of arguments."""
    settings = [
        f"TopDownDecoder.num_groups = {GROUPS[name]}",
        f"train.num_steps = {num_steps}",
        f"train.steps_per_loop = {_STEPS_PER_LOOP}",
        *options.gin_param,
    ]
    flags = [f"--gin_param={setting}" for setting in settings]
    return ["train", "--gin_file=hierarchical_vae.gin", *flags, f"--workdir={workdir}"]


def commands(name, seed, num_steps, options):
    """Returns the commands that make a record, as lists of arguments."""
    workdir = options.runs / f"{name}-{seed}"
    return [
        [*train_command(name, workdir, num_steps, options), f"--gin_param=train.seed = {seed}"],
        ["evaluate", "--checkpoint=last", "--gin_param=evaluate.num_samples = (1,)", f"--workdir={workdir}"],
        ["record", f"--results={options.results}", f"--workdir={workdir}"],
    ]


def seconds_per_step(lines):
    """Returns the median over the loops of a training after its first, which includes the start.

    Args:
      lines: those of its `metrics.jsonl`, as dicts.
    """
    loops = itertools.pairwise(lines)
    return statistics.median(
        (later["wall_seconds"] - one["wall_seconds"]) / (later["step"] - one["step"]) for one, later in loops
    )


def steps_in(seconds, each):
    """Returns how many steps fit into a time, a multiple of the steps in a loop."""
    return max(1, int(seconds / each / _STEPS_PER_LOOP)) * _STEPS_PER_LOOP


def table(records):
    """Writes the records as Markdown: of each depth the mean, deviation and interval over its seeds.

    Args:
      records: a list of dicts, as `vaeflow record` writes them, named NAME-SEED.
    """
    lines = [["groups", "on 4x4, 8x8, 16x16, 32x32", "seeds", "steps", *COLUMNS, "training"]]
    for name, groups in GROUPS.items():
        runs = seeds_of(name, records)
        if not runs:
            continue
        cells = [spreads.summary([_metric(run, metric) for run in runs]) for metric in COLUMNS.values()]
        steps = ", ".join(f"{each:,}" for each in sorted({run["metrics"]["step"] for run in runs}))
        places = ", ".join(map(str, groups))
        lines.append([str(sum(groups)), places, str(len(runs)), steps, *cells, tables.time(runs)])
    return page.rows(lines)


def _metric(record, name):
    return record["evaluation"]["metrics"][f"{name}[none]"]


def main(arguments):
    """Makes the records that were asked for; returns the exit code of the first command that fails."""
    options = _parse(arguments)
    steps = options.runs / "steps.json"
    known = json.loads(steps.read_text()) if steps.exists() else {}
    for name in options.names:
        if name in known:
            continue
        trial = options.runs / f"trial_{name}"
        num_steps = _NUM_TRIAL_LOOPS * _STEPS_PER_LOOP
        if code := _run(train_command(name, trial, num_steps, options)):
            return code
        lines = [json.loads(line) for line in (trial / "metrics.jsonl").read_text().splitlines()]
        each = seconds_per_step(lines)
        known[name] = {"seconds_per_step": each, "num_steps": steps_in(options.seconds, each)}
        steps.write_text(json.dumps(known, indent=2) + "\n")
    for seed in options.seeds:
        for name in options.names:
            for command in commands(name, seed, known[name]["num_steps"], options):
                if code := _run(command):
                    return code
    return 0


def _run(command):
    return subprocess.run([sys.executable, "-m", "vaeflow", *command], check=False).returncode


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m results.hierarchy.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--names",
        type=names_of(GROUPS, "depth"),
        default=list(GROUPS),
        help=f"of {','.join(GROUPS)}; default: all",
    )
    parser.add_argument("--seeds", type=numbers, default=[0])
    parser.add_argument("--seconds", type=float, default=900.0, help="of each training; default: 900")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/hierarchy"))
    parser.add_argument("--results", type=pathlib.Path, default=HERE)
    parser.add_argument("--gin_param", action="append", default=[], help="changes the training, for a trial")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
