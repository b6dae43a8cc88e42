"""The axis of a setting in the pictures of a study."""

import pytest

from vaeflow.commands.studies.report import scales


def test_near_numbers_keep_their_distances():
    scale = scales.scale_of(["5", "10", "20"])
    assert [scale.place(text) for text in ("5", "10", "20")] == [5, 10, 20]
    assert not scale.is_logarithmic


def test_far_numbers_are_on_a_logarithmic_axis():
    scale = scales.scale_of(["1e-4", "1e-3", "0.01"])
    assert scale.is_logarithmic
    assert [scale.place(text) for text in ("1e-4", "1e-3", "0.01")] == pytest.approx([1e-4, 1e-3, 1e-2])


def test_far_numbers_with_a_zero_stand_side_by_side_in_their_order():
    scale = scales.scale_of(["100", "0", "1"])
    assert [scale.place(text) for text in ("0", "1", "100")] == [0, 1, 2]
    assert scale.of_numbers


@pytest.mark.parametrize(
    "texts", [["@BetaVAE", "@VAE"], ["True", "False"], ["(1, 2)", "(3,)"], ["None", "3"]]
)
def test_other_values_stand_side_by_side_as_given(texts):
    scale = scales.scale_of(texts)
    assert [scale.place(text) for text in texts] == [0, 1]
    assert not scale.of_numbers


def test_the_marks_of_one_value_stand_around_it():
    scale = scales.scale_of(["5", "10"])
    first, second, third = (scale.place("5", number, 3) for number in range(3))
    assert first < 5 == second < third < 7.5
    assert third - second == pytest.approx(second - first)
