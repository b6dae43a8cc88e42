"""Sprites against an independent drawing in NumPy, and the grid they are taken from."""

import numpy as np
import pytest
import tensorflow as tf

from vaeflow.datasets import RenderedSprites
from vaeflow.errors import ConfigurationError

SIZES = (3, 6, 40, 32, 32)


def all_factors(split):
    return split.factors(np.arange(split.num_examples))


def read_at(split, indices):
    return split.examples(tf.constant(indices, tf.int64)).numpy()


def moments(images):
    """Area and centroid (x, y) of each image's white pixels, in pixels."""
    white = images[..., 0] / 255.0
    middles = np.arange(images.shape[1]) + 0.5
    area = white.sum((1, 2))
    x = (white.sum(1) * middles).sum(1) / area
    y = (white.sum(2) * middles).sum(1) / area
    return area, x, y


def numpy_sprites(factors, size):
    """Draws one sprite from half-planes, an ellipse's foci, or the polygon of a heart's outline."""
    shape, scale, orientation, x, y = factors
    middles = np.arange(size) + 0.5
    centre = [size * (15 + 34 * place / 31) / 64 for place in (x, y)]
    points = (middles[None, :] - centre[0]) + 1j * (middles[:, None] - centre[1])
    points = points * np.exp(-2j * np.pi * orientation / 39) / (size / 64 * (0.5 + 0.1 * scale))
    if shape == 0:
        return np.all([(points * 1j**turn).real < 10 for turn in range(4)], axis=0)
    if shape == 1:
        focus = 1j * np.sqrt(14**2 - 7**2)
        return abs(points - focus) + abs(points + focus) < 2 * 14
    angle = np.linspace(0, 2 * np.pi, 801)[:-1]
    lowered = 9.5 * 0.8 * 4 / (3 * np.pi)
    outline = 12 * np.cos(angle) + 1j * (9.5 * (np.sin(angle) - 0.8 * abs(np.cos(angle))) + lowered)
    # The outline winds around what is inside.
    turns = np.angle((np.roll(outline, -1) - points[..., None]) / (outline - points[..., None]))
    return abs(turns.sum(-1)) > np.pi


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 33])
def test_images_match_an_independent_drawing(size):
    split = RenderedSprites(size).load("train")
    indices = np.random.RandomState(0).randint(split.num_examples, size=40)
    images = read_at(split, indices)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}
    assert set(split.factors(indices)[:, 0]) == {0, 1, 2}
    for image, factors in zip(images, split.factors(indices), strict=True):
        # One pixel may lie on an edge.
        assert ((image[..., 0] > 0) != numpy_sprites(factors, size)).sum() <= 1, factors


@pytest.mark.slow
def test_areas_and_centroids_follow_the_factors():
    split = RenderedSprites().load("train")
    indices = np.random.RandomState(1).randint(split.num_examples, size=2000)
    factors = split.factors(indices)
    area, x, y = moments(read_at(split, indices))
    full = np.array([20 * 20, np.pi * 7 * 14, np.pi * 12 * 9.5])
    scales = np.linspace(0.5, 1, 6)
    for shape in range(3):
        for scale in range(6):
            mean = area[(factors[:, 0] == shape) & (factors[:, 1] == scale)].mean()
            assert mean == pytest.approx(full[shape] * scales[scale] ** 2, rel=0.02)
    for centroid, places in ((x, factors[:, 3]), (y, factors[:, 4])):
        error = centroid - np.linspace(15, 49, 32)[places]
        assert abs(error).max() < 0.8
        assert abs(error.mean()) < 0.02


@pytest.mark.parametrize("size", [48, 64, 101])
def test_sprites_stay_inside(size):
    corners = RenderedSprites(size, scales=(5, 5), x_positions=(0, 0), y_positions=(0, 0))
    others = RenderedSprites(size, scales=(5, 5), x_positions=(31, 31), y_positions=(31, 31))
    for dataset in (corners, others):
        split = dataset.load("train")
        images = read_at(split, np.arange(split.num_examples))
        border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]])
        assert border.max() == 0


def test_the_heart_has_a_notch_above_and_a_tip_below():
    dataset = RenderedSprites(shapes=["heart"], scales=(5, 5), orientations=(0, 0))
    heart = read_at(dataset.load("train"), [500])[0, ..., 0] > 0
    rows = np.flatnonzero(heart.any(1))
    runs = (np.diff(np.pad(heart, ((0, 0), (1, 1))).astype(int), axis=1) == 1).sum(1)[rows]
    assert runs[0] == 2
    assert runs[-1] == 1
    widths = heart.sum(1)[rows]
    assert widths[-1] <= 2
    assert widths.max() >= 20
    assert np.argmax(widths) < len(widths) / 2


def test_the_last_orientation_looks_like_the_first():
    split = RenderedSprites(scales=(3, 3), x_positions=(7, 9), y_positions=(4, 6)).load("train")
    factors = all_factors(split)
    images = {
        tuple(f): image for f, image in zip(factors, read_at(split, np.arange(len(factors))), strict=True)
    }
    pairs = [(f, (*f[:2], 39, *f[3:])) for f in images if f[2] == 0 and (*f[:2], 39, *f[3:]) in images]
    assert len(pairs) > 10
    for first, last in pairs:
        np.testing.assert_array_equal(images[first], images[last])


@pytest.mark.slow
def test_an_index_gives_the_same_bits_in_any_batch():
    split = RenderedSprites().load("train")
    indices = np.random.RandomState(2).randint(split.num_examples, size=37)
    images = read_at(split, indices)
    for part in (1, 2, 3, 16):
        chunks = [read_at(split, indices[start : start + part]) for start in range(0, 37, part)]
        np.testing.assert_array_equal(np.concatenate(chunks), images)
    compiled = tf.function(split.examples)(tf.constant(indices, tf.int64))
    np.testing.assert_array_equal(compiled, images)
    stream = tf.data.Dataset.from_tensor_slices(indices).batch(5).map(split.examples)
    np.testing.assert_array_equal(np.concatenate(list(stream.as_numpy_iterator())), images)


def test_the_splits_share_out_the_published_grid():
    dataset = RenderedSprites()
    train, evaluation = dataset.load("train"), dataset.load("evaluation")
    assert (train.num_examples, evaluation.num_examples) == (727_280, 10_000)
    assert train.shape == (64, 64, 1)
    assert train.dtype == "uint8"
    assert train.array is None
    points = [np.ravel_multi_index(all_factors(split).T, SIZES) for split in (train, evaluation)]
    assert all(np.all(np.diff(part) > 0) for part in points)
    np.testing.assert_array_equal(np.sort(np.concatenate(points)), np.arange(737_280))


def test_ranges_are_places_of_the_published_grid():
    dataset = RenderedSprites(
        shapes=["heart", "square"], scales=(4, 5), orientations=(39, 39), x_positions=(0, 3), num_evaluation=7
    )
    train, evaluation = dataset.load("train"), dataset.load("evaluation")
    assert evaluation.num_examples == 7
    points = np.concatenate([all_factors(train), all_factors(evaluation)])
    assert len(np.unique(points, axis=0)) == len(points) == 2 * 2 * 4 * 32
    found = [sorted(set(column)) for column in points.T]
    assert found == [[0, 2], [4, 5], [39], [0, 1, 2, 3], list(range(32))]
    assert RenderedSprites(x_positions=(0, 15)).load("evaluation").num_examples == 10_000
    assert RenderedSprites(orientations=(0, 0), scales=(0, 0)).load("evaluation").num_examples == 307


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 15}, "`RenderedSprites.image_size` must be at least 16, got 15"),
        ({"image_size": (64, 64)}, "image_size"),
        ({"shapes": ["circle"]}, "`RenderedSprites.shapes`.*'circle'"),
        ({"shapes": "heart"}, "shapes"),
        ({"shapes": []}, "shapes"),
        ({"shapes": ["heart", "heart"]}, "different"),
        ({"scales": (0, 6)}, "`RenderedSprites.scales`.*<= 5"),
        ({"scales": 3}, "scales"),
        ({"orientations": (5, 4)}, "orientations"),
        ({"x_positions": (-1, 4)}, "x_positions"),
        ({"y_positions": (0.5, 4)}, "y_positions"),
        ({"num_evaluation": 0}, "num_evaluation"),
        ({"binarization": "yes"}, "`RenderedSprites.binarization`"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RenderedSprites(**settings)


def test_a_grid_of_one_point_is_refused():
    single = dict.fromkeys(("scales", "orientations", "x_positions", "y_positions"), (0, 0))
    with pytest.raises(ConfigurationError, match="at least two points"):
        RenderedSprites(shapes=["square"], **single)
