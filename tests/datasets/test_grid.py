"""The images of all combinations of factors, whichever split they are in."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures import tiny_runs
from vaeflow.datasets import Dataset, InMemorySplit, RenderedSprites, pipeline
from vaeflow.errors import DataError


class Squares(Dataset):
    """Four grey images of two factors; `given` stands for what `load_grid` returns otherwise."""

    def __init__(self, given=None, **kwargs):
        super().__init__(**kwargs)
        self.given = given

    def load(self, name):
        images = np.full((4, 8, 8, 1), 128, np.uint8)
        return InMemorySplit(images, np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))

    def load_grid(self):
        return self.load("train") if self.given is None else self.given


def test_the_sprites_of_both_splits():
    source = RenderedSprites(16, shapes=["ellipse"], scales=(1, 2), x_positions=(3, 5), y_positions=(7, 8))
    grid = pipeline.read_grid(source)
    factors = grid.factors(np.arange(grid.num_examples))
    assert factors.tolist() == [
        list(each) for each in itertools.product([1], [1, 2], range(40), [3, 4, 5], [7, 8])
    ]
    splits = [pipeline.read_split(source, name) for name in ("train", "evaluation")]
    assert grid.num_examples == sum(split.num_examples for split in splits)
    numbers = {tuple(each): number for number, each in enumerate(factors)}
    for split in splits:
        indices = np.arange(0, split.num_examples, 29)
        same = [numbers[tuple(each)] for each in split.factors(indices)]
        np.testing.assert_array_equal(
            grid.examples(tf.constant(same, tf.int64)), split.examples(tf.constant(indices, tf.int64))
        )


def test_most_sources_have_none():
    assert pipeline.read_grid(tiny_runs.dataset()) is None


def test_static_binarization_draws_the_pixels_of_the_grid_by_themselves():
    source = Squares(binarization="static")
    grid, train = pipeline.read_grid(source), pipeline.read_split(source, "train")
    assert grid.binarization == "static"
    assert set(np.unique(grid.array)) == {0, 255}
    assert 0.35 < np.mean(grid.array == train.array) < 0.65
    np.testing.assert_array_equal(grid.array, pipeline.read_grid(source).array)


def test_what_is_no_split_is_refused():
    with pytest.raises(DataError, match=r"`Squares.load_grid` must return a Split"):
        pipeline.read_grid(Squares(given=np.zeros(3)))
