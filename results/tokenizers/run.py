"""Trains the tokenizers of configs/ and a prior over codes, and makes their records and pictures.

    python -m results.tokenizers.run
    python -m results.tokenizers.run --names=vq_vae,code_prior --seeds=0

Each gin file is trained with each seed, evaluated, encoded, sampled and exported by the commands of vaeflow;
`code_prior.gin` reads the codes of the run of `vq_vae.gin` with its seed. A run that was stopped goes on when
the command is repeated, and one that is complete is not trained again.

Writes a record NAME-SEED.json of each run to this folder. The pictures go to examples/pictures, those of the
first seed: of each tokenizer held-out patches above their reconstructions, of the prior what it draws, and
all of them in tokenizers.png.
"""

import argparse
import itertools
import pathlib
import subprocess
import sys

import numpy as np

from results.arguments import names_of, numbers
from vaeflow.analysis import grids

HERE = pathlib.Path(__file__).parent
PICTURES = HERE.parents[1] / "examples" / "pictures"
# The code prior comes after the run whose codes it reads.
TOKENIZERS = {
    "autoencoder_kl": "latents (KL)",
    "vq_vae": "VQ-VAE",
    "fsq_vae": "FSQ",
    "vqgan": "VQGAN",
}
PRIOR = "code_prior"
NAMES = [*TOKENIZERS, PRIOR]
# Those of the header of code_prior.gin: one patch in 16.
ENCODED = ["--gin_param=Photographs.stride = 4"]
_COLUMNS = 12


def commands(name, seed, options):
    """Returns the commands that make a run, its files and its record, as lists of arguments."""
    workdir = f"--workdir={options.runs / f'{name}-{seed}'}"
    train = ["train", f"--gin_file={name}.gin", workdir, f"--gin_param=train.seed = {seed}"]
    if name == PRIOR:
        train.append(f"--gin_param=Codes.folder = {str(options.runs / f'vq_vae-{seed}' / 'encoded')!r}")
    middle = [] if name == PRIOR else [["encode", workdir, *ENCODED], ["export", workdir]]
    record = ["record", f"--results={options.results}", workdir]
    return [train, ["evaluate", workdir], *middle, ["sample", workdir], record]


def write_pictures(runs, seed, folder):
    """Draws what there is of the runs with one seed.

    Args:
      runs: the folder of the work folders.
      seed: of the runs.
      folder: gets `<name>.png` of each run, and `tokenizers.png`.
    """
    rows, titles = [], []
    for name, title in TOKENIZERS.items():
        arrays = _arrays(runs / f"{name}-{seed}")
        if arrays is None:
            continue
        inputs, images = (_spread(arrays[f"reconstruction_{kind}"]) for kind in ("inputs", "images"))
        _write(folder / f"{name}.png", [inputs, images], ["patches", title])
        # The same patches for all.
        rows += [images] if rows else [inputs, images]
        titles += [title] if titles else ["patches", title]
    arrays = _arrays(runs / f"{PRIOR}-{seed}")
    if arrays is not None:
        drawn, labels = arrays["samples_prior_images"], arrays["samples_labels"][:, 0]
        by_photo = [drawn[labels == photo][:_COLUMNS] for photo in (0, 1)]
        _write(folder / f"{PRIOR}.png", by_photo, ["photo 1", "photo 2"])
        rows.append(_spread(drawn))
        titles.append("CodePrior")
    _write(folder / "tokenizers.png", rows, titles)


def _arrays(workdir):
    path = workdir / "samples" / "samples.npz"
    return np.load(path) if path.exists() else None


def _spread(images):
    return images[np.linspace(0, len(images) - 1, _COLUMNS).astype(int)]


def _write(path, rows, titles):
    images = np.concatenate(rows)
    grids.write_png(path, grids.grid(grids.enlarge(images, _COLUMNS), _COLUMNS, row_labels=titles))
    print(path)


def main(arguments):
    """Makes the runs that were asked for; returns the exit code of the first command that fails."""
    options = _parse(arguments)
    for seed, name in itertools.product(options.seeds, options.names):
        for command in commands(name, seed, options):
            finished = subprocess.run([sys.executable, "-m", "vaeflow", *command], check=False)
            if finished.returncode:
                return finished.returncode
    write_pictures(options.runs, options.seeds[0], options.pictures)
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m results.tokenizers.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--names", type=names_of(NAMES, "run"), default=NAMES, help=f"of {','.join(NAMES)}; default: all"
    )
    parser.add_argument("--seeds", type=numbers, default=[0, 1], help="default: 0,1")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"))
    parser.add_argument("--results", type=pathlib.Path, default=HERE)
    parser.add_argument("--pictures", type=pathlib.Path, default=PICTURES)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
