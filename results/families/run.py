"""Trains the compared models on MNIST, evaluates and records them.

    python -m results.families.run
    python -m results.families.run --mnist=path/to/idx --names=vae,iwae_5 --seeds=0

Each model has the same data, net and training, `settings.gin`: dynamically binarized MNIST, the dense
net of Burda, Grosse & Salakhutdinov 2016 (arXiv:1509.00519), batches of 20 and Adam as there, for 30
epochs at its first learning rate, where theirs falls over 3,280. The VampPrior alone has a warm-up of
the KL, without which it collapses. After the last step 1,000 test images give the negative ELBO, and
the negative log-likelihood by importance sampling with 5,000 samples.

Writes a record NAME-SEED.json of each run to this folder; `python -m results.page` puts the table of all
records into docs/models.md. A run that was stopped goes on when the command is repeated. On one CPU core of
an AMD EPYC the training of a run took 1 to 19 minutes, beside other work.
"""

import argparse
import os
import pathlib
import subprocess
import sys

from results import tables
from results.arguments import names_of, numbers
from results.records import seeds_of
from vaeflow.commands.studies.report import page, spreads

HERE = pathlib.Path(__file__).parent
MODELS = {
    "vae": "VAE",
    "iwae_5": "IWAE, 5 samples",
    "iwae_50": "IWAE, 50 samples",
    "vamp": "VAE, VampPrior of 500",
    "iaf": "VAE, IAF posterior",
}
COLUMNS = {
    "negative ELBO, nats": "negative_elbo_nats",
    "NLL, nats": "nll_is5000_nats",
    "active units": "active_units",
}


def commands(name, seed, options):
    """Returns the three commands that make a record, as lists of arguments."""
    workdir = f"--workdir={options.runs / f'{name}-{seed}'}"
    data = [f"--gin_param=MNIST.folder = {options.mnist!r}"] if options.mnist else []
    changes = [f"--gin_param={change}" for change in options.gin_param]
    return [
        [
            "train",
            f"--gin_file={os.path.relpath(HERE / name)}.gin",  # As the record is to show it.
            f"--gin_param=train.seed = {seed}",
            *data,
            *changes,
            workdir,
        ],
        [
            "evaluate",
            "--checkpoint=last",
            "--gin_param=evaluate.num_examples = 1000",
            "--gin_param=evaluate.num_samples = (1, 5000)",
            workdir,
        ],
        ["record", f"--results={options.results}", workdir],
    ]


def table(records):
    """Writes the records as Markdown: of each model the mean, deviation and interval over its seeds.

    Args:
      records: a list of dicts, as `vaeflow record` writes them, named NAME-SEED.
    """
    lines = [["model", "seeds", *COLUMNS, "training"]]
    for name, title in MODELS.items():
        runs = seeds_of(name, records)
        if not runs:
            continue
        cells = [spreads.summary([_metric(run, metric) for run in runs]) for metric in COLUMNS.values()]
        lines.append([title, str(len(runs)), *cells, tables.time(runs)])
    return page.rows(lines)


def _metric(record, name):
    return record["evaluation"]["metrics"][f"{name}[dynamic]"]


def main(arguments):
    """Makes the records that were asked for; returns the exit code of the first command that fails."""
    options = _parse(arguments)
    for seed in options.seeds:
        for name in options.names:
            for command in commands(name, seed, options):
                finished = subprocess.run([sys.executable, "-m", "vaeflow", *command], check=False)
                if finished.returncode:
                    return finished.returncode
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m results.families.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--names",
        type=names_of(MODELS, "model"),
        default=list(MODELS),
        help=f"of {','.join(MODELS)}; default: all",
    )
    parser.add_argument("--seeds", type=numbers, default=[0, 1])
    parser.add_argument(
        "--mnist", type=_folder, help="the folder of the IDX files; default: Keras downloads them"
    )
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/families"))
    parser.add_argument("--results", type=pathlib.Path, default=HERE)
    parser.add_argument("--gin_param", action="append", default=[], help="changes the training, for a trial")
    return parser.parse_args(arguments)


def _folder(text):
    return str(pathlib.Path(text).resolve())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
