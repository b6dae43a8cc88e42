"""The table of `embed`: one row of numbers for each example."""

import numpy as np

from vaeflow.analysis.embedding import Embedding
from vaeflow.commands import embed

CENTERS = np.random.default_rng(0).normal(size=(5, 2, 3, 4))


def embedded(center, **parameters):
    return {"z": Embedding(np.arange(5), center, center, parameters)}


def test_of_a_map_all_numbers_are_in_the_table():
    names, points = embed._points(embedded(CENTERS, mean=CENTERS))
    assert (names[0], names[-1], len(names)) == ("z00", "z23", 24)
    np.testing.assert_array_equal(points, CENTERS.reshape(5, 24))


def test_of_codes_the_mean_embedding_is_in_the_table():
    names, points = embed._points(embedded(CENTERS, codes=np.zeros((5, 2, 3), np.int32)))
    assert names == ["z00", "z01", "z02", "z03"]
    expected = [sum(image[row, column] for row in range(2) for column in range(3)) / 6 for image in CENTERS]
    np.testing.assert_allclose(points, expected, rtol=1e-12)
