"""The values that the settings of a search may take."""

import pytest

from vaeflow.commands.studies.search import space
from vaeflow.commands.studies.search.space import Choice, Range


def test_each_form_is_read():
    assert space.parse(
        {
            "A.any": ("float", 0, 0.5),
            "A.step": ("float", 0.1, 0.9, 0.1),
            "A.log": ("log", 1, 16.0),
            "A.int": ("int", 4, 20),
            "A.even": ("int", 4, 20, 2),
            "A.log_int": ("log_int", 8, 512),
            "A.choice": ("choice", (16, "x", (32, 32))),
        }
    ) == {
        "A.any": Range(0.0, 0.5),
        "A.step": Range(0.1, 0.9, step=0.1),
        "A.log": Range(1.0, 16.0, is_log=True),
        "A.int": Range(4, 20),
        "A.even": Range(4, 20, step=2),
        "A.log_int": Range(8, 512, is_log=True),
        "A.choice": Choice(("16", "'x'", "(32, 32)")),
    }


def test_the_bounds_say_whether_only_integers_are_meant():
    read = space.parse({"A.any": ("float", 0, 1), "A.int": ("int", 0, 1)})
    assert [each.is_integer for each in read.values()] == [False, True]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (None, "`study.space` must be a dict such as .*, got None"),
        ({}, "must be a dict"),
        ({3: ("log", 1, 2)}, "must name settings as text .*, got 3"),
        ({"A.x": 3}, r"`study.space\['A.x'\]` must be such as .*; got 3"),
        ({"A.x": ("lgo", 1, 2)}, "got .*lgo.*did you mean 'log'"),
        ({"A.x": ("log", 1)}, r"must be such as \(\"log\", 1.0, 16.0\); got \('log', 1\)"),
        ({"A.x": ("log", 1, 2, 3)}, "must be such as"),
        ({"A.x": ("log", 0, 2)}, "above 0, since it is logarithmic"),
        ({"A.x": ("float", 2, 1)}, "lowest value below the highest"),
        ({"A.x": ("float", 0, float("nan"))}, "finite number"),
        ({"A.x": ("float", 0, 1, 2)}, "step between 0 and the width"),
        ({"A.x": ("int", 1, 2.5)}, "whole numbers.*got 2.5"),
        ({"A.x": ("choice", 3)}, "must be such as .*choice"),
        ({"A.x": ("choice", ())}, "must be such as .*choice"),
        ({"A.x": ("choice", (1, 1))}, "names a value twice"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(wrong, expected):
    with pytest.raises(ValueError, match=expected):
        space.parse(wrong)
