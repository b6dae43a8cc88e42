"""Values at the borders of what is allowed."""

import numpy as np
import pytest

from vaeflow import validation

NAN = float("nan")


@pytest.mark.parametrize(
    ("check", "accepted", "refused"),
    [
        (validation.positive_integer, [1, 10**12, np.int64(3)], [0, -3, 1.0, True, "1", None, NAN]),
        (validation.non_negative_integer, [0, 5, np.int32(0)], [-1, 0.0, False, None]),
        (validation.positive_number, [1e-300, 1, 2.5, np.float32(2)], [0, 0.0, -1, NAN, True, "1"]),
        (validation.non_negative_number, [0, 0.0, 3], [-1e-9, NAN, False, None]),
        (validation.fraction, [0, 0.0, 0.999], [1, 1.0, -0.1, NAN, True]),
        (validation.positive_integers, [[], [1, 2], (3,)], [3, [0], [1.5], "12", None]),
    ],
)
def test_borders(check, accepted, refused):
    for value in accepted:
        assert np.all(np.asarray(check("Some.setting", value)) == np.asarray(value))
    for value in refused:
        with pytest.raises(ValueError, match=r"`Some\.setting` must be"):
            check("Some.setting", value)


def test_one_of_lists_the_choices():
    assert validation.one_of("Some.setting", "a", ("a", None)) == "a"
    with pytest.raises(ValueError, match=r"`Some.setting` must be one of 'a', None; got 'b'"):
        validation.one_of("Some.setting", "b", ("a", None))
