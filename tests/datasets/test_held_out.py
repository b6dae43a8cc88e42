"""The examples that are held out."""

import numpy as np
import pytest

from vaeflow.datasets.held_out import held_out_split, num_held_out
from vaeflow.errors import ConfigurationError


def test_the_two_splits_share_out_the_examples():
    train = held_out_split("train", 100, 7, "X.y")
    evaluation = held_out_split("evaluation", 100, 7, "X.y")
    assert len(evaluation) == 7
    assert evaluation.dtype == np.int64
    np.testing.assert_array_equal(np.sort(np.concatenate([train, evaluation])), np.arange(100))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(evaluation) > 0)


def test_what_is_held_out_never_changes():
    assert held_out_split("evaluation", 20, 4, "X.y").tolist() == [2, 9, 10, 11]


@pytest.mark.parametrize(("name", "count"), [("evaluation", 0), ("train", 5)])
def test_an_empty_split_is_refused(name, count):
    with pytest.raises(ConfigurationError, match=f"`X.y` holds out {count} of 5 .*none for the {name}"):
        held_out_split(name, 5, count, "X.y")


def test_a_fraction_holds_out_at_least_one():
    assert [num_held_out(25, fraction) for fraction in (0.0, 0.01, 0.1, 0.5)] == [0, 1, 2, 12]
