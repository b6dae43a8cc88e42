"""The sums that pass from one part of a loop to the next, and through a checkpoint's record."""

import json
import math

import numpy as np
import pytest

from vaeflow.runs.totals import Totals


def through_json(totals):
    return Totals.from_json(json.loads(json.dumps(totals.to_json(), allow_nan=False)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_json_keeps_every_bit(dtype):
    numbers = np.random.default_rng(0).normal(size=500).astype(dtype) * np.logspace(-30, 30, 500, dtype=dtype)
    sums = {f"metric {place}": float(number) for place, number in enumerate(numbers)}
    totals = Totals(7, 0.1 + 0.2, 1 / 3, sums)
    restored = through_json(totals)
    assert restored == totals
    assert list(restored.sums) == list(sums)
    assert np.array_equal(np.array(list(restored.sums.values()), dtype), numbers)


def test_a_sum_that_overflowed_is_not_a_number_afterwards():
    sums = through_json(Totals(1, 1.0, 0.0, {"loss": math.inf, "kl": 2.0})).sums
    assert math.isnan(sums["loss"])
    assert sums["kl"] == 2.0


def test_no_steps_are_nothing():
    assert Totals().to_json() is None
    assert Totals.from_json(None) == Totals()
    assert Totals().means() == {}


def test_means_divide_by_the_steps():
    assert Totals(4, 1.0, 0.0, {"loss": 10.0, "kl": 1.0}).means() == {"loss": 2.5, "kl": 0.25}


GOOD = {"num_steps": 1, "seconds": 1.0, "input_seconds": 0.0, "sums": {"loss": 1.0}}


@pytest.mark.parametrize(
    "content",
    [
        7,
        "x",
        [],
        {},
        {"sums": {}, "more": 1},
        {"sums": 7},
        GOOD | {"seconds": None},
        GOOD | {"num_steps": "1"},
        GOOD | {"sums": {"loss": "1"}},
    ],
)
def test_anything_else_is_refused(content):
    assert Totals.from_json(GOOD).num_steps == 1
    with pytest.raises(ValueError, match="its totals are "):
        Totals.from_json(content)
