"""Shows that each variant's own term moves as its paper says when its weight grows.

    python -m results.weights.run
    python -m results.weights.run --seeds=0

Each row of `ROWS` is trained twice for each seed, with a small weight and with a large one: a dense net
with 64 units and 4 latents, for 200 steps of 32 ellipses of 16x16 pixels. What is shown is the term that
the weight stands before, not multiplied by it: its mean over the last 100 steps.

Writes the values to weights.json in this folder; `python -m results.page` puts their table into
docs/models.md. Takes a minute on one CPU core of an AMD EPYC.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from results.arguments import numbers
from vaeflow.commands.studies.report import page, spreads
from vaeflow.datasets import InMemorySplit, RenderedSprites
from vaeflow.layers import DenseDecoder, DenseEncoder
from vaeflow.models import DIPVAE, WAE, AnnealedVAE, BetaTCVAE, BetaVAE, FactorVAE, InfoVAE
from vaeflow.training.settings import TrainingSettings
from vaeflow.training.trainer import Trainer

RECORD = pathlib.Path(__file__).parent / "weights.json"
_STEPS_PER_MEAN = 100
_NUM_MEANS = 2


def factor_vae(**arguments: Any) -> FactorVAE:
    """Makes one whose discriminator is small, and fast enough for so few steps."""
    optimizer = keras.optimizers.Adam(0.003, beta_1=0.5, beta_2=0.9)
    return FactorVAE(discriminator_units=(64, 64), discriminator_optimizer=optimizer, **arguments)


@dataclasses.dataclass(frozen=True)
class Row:
    """A model whose weight is small, then large.

    Attributes:
      model: its name, and the variant.
      make: makes it from its blocks and settings.
      symbol: the weight in the paper.
      weight: the setting.
      values: a small one and a large one.
      title: what the term is.
      term: the name of the term that it stands before.
      settings: the others.
    """

    model: str
    make: Callable[..., Any]
    symbol: str
    weight: str
    values: tuple[float, float]
    title: str
    term: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


ROWS = (
    Row("`BetaVAE`", BetaVAE, "β", "beta", (0.5, 8.0), "KL, nats", "kl"),
    Row(
        "`AnnealedVAE`",
        AnnealedVAE,
        "C",
        "max_capacity",
        (2.0, 6.0),
        "KL, nats",
        "kl",
        {"capacity_steps": 100},
    ),
    Row(
        "`BetaTCVAE`, mss",
        BetaTCVAE,
        "β",
        "beta",
        (0.0, 6.0),
        "total correlation, an estimate",
        "total_correlation",
        {"estimator": "mss"},
    ),
    Row(
        "`FactorVAE`",
        factor_vae,
        "γ",
        "gamma",
        (0.0, 40.0),
        "total correlation by the discriminator",
        "total_correlation",
    ),
    *(
        Row(
            f"`DIPVAE` {variant.upper()}",
            DIPVAE,
            "λ_od",
            "lambda_od",
            (0.01, 50.0),
            "Σ C_ij²",
            "off_diagonal_covariance",
            {"variant": variant},
        )
        for variant in ("i", "ii")
    ),
    Row("`InfoVAE`", InfoVAE, "λ", "mmd_scale", (1.0, 1000.0), "MMD", "mmd"),
    Row(
        "`WAE`",
        WAE,
        "λ",
        "mmd_weight",
        (0.01, 100.0),
        "MMD",
        "mmd",
        {"deterministic": True, "kernel": "rbf"},
    ),
)


def trained(row: Row, seed: int = 0) -> list[dict[str, float]]:
    """Trains the model of a row with its two weights; returns the means of all terms of each."""
    return [_metrics(row.make, row.settings | {row.weight: value}, seed) for value in row.values]


def _metrics(make, settings, seed):
    keras.utils.set_random_seed(seed)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        blocks = {"encoder": DenseEncoder((64,)), "decoder": DenseDecoder((64,))}
        model, optimizer = make(num_latents=4, **blocks, **settings), keras.optimizers.Adam(0.005)
    training = TrainingSettings(batch_size=32, seed=seed, compile_mode="none")
    trainer = Trainer(model, optimizer, InMemorySplit(_ellipses()), training, strategy)
    for _ in range(_NUM_MEANS):
        metrics = trainer.train_and_report(_STEPS_PER_MEAN)
    return metrics


@functools.cache
def _ellipses():
    """Ellipses of 16x16 pixels at 256 places, in two sizes and two orientations."""
    dataset = RenderedSprites(
        image_size=16,
        shapes=["ellipse"],
        scales=(4, 5),
        orientations=(10, 11),
        x_positions=(8, 23),
        y_positions=(8, 23),
        num_evaluation=1,
    )
    split = dataset.load("train")
    return split.examples(tf.range(split.num_examples, dtype=tf.int64)).numpy()


def table(record: Mapping[str, Any]) -> str:
    """Writes the recorded terms as Markdown: of each weight the mean, deviation and interval over its seeds.

    Args:
      record: what `main` writes.
    """
    lines = [["model", "weight", "its own term", "with the small weight", "with the large weight"]]
    for row, terms in zip(ROWS, record["terms"], strict=True):
        weight = f"{row.symbol} {row.values[0]:g}, {row.values[1]:g}"
        lines.append([row.model, weight, row.title, *map(spreads.summary, terms)])
    return page.rows(lines)


def main(arguments: Sequence[str]) -> int:
    """Trains all rows, and writes the record; returns the exit code."""
    options = _parse(arguments)
    terms = []
    for row in ROWS:
        runs = [trained(row, seed) for seed in options.seeds]
        terms.append([[float(run[which][row.term]) for run in runs] for which in (0, 1)])
        print(row.model, *terms[-1])
    record = {"seeds": options.seeds, "tensorflow": tf.__version__, "terms": terms}
    options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m results.weights.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seeds",
        type=numbers,
        default=[0, 1, 2, 3, 4],
        help="default: 0 to 4",
    )
    parser.add_argument("--record", type=pathlib.Path, default=RECORD, help="the file to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
