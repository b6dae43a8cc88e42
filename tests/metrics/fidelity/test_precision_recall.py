"""Precision and recall against a computation pair by pair, and where the answer is plain."""

import types

import numpy as np
import pytest

from vaeflow.metrics.fidelity import PrecisionRecall, features

REAL = np.random.default_rng(0).normal(size=(30, 2))
MADE = np.random.default_rng(1).normal([0.8, 0.0], [0.5, 1.2], size=(25, 2))


def numpy_share(points, features, k):
    """Kynkäänniemi et al. 2019, Eq. 1: how many points lie in a ball around one of the features."""
    inside = []
    for point in points:
        balls = []
        for index, center in enumerate(features):
            others = np.delete(features, index, axis=0)
            radius = np.sort(np.linalg.norm(others - center, axis=1))[k - 1]
            balls.append(np.linalg.norm(point - center) <= radius)
        inside.append(any(balls))
    return np.mean(inside)


def compared(net, real=REAL, made=MADE, k=3):
    sets = (types.SimpleNamespace(array=each, num_images=len(each)) for each in (real, made))
    return PrecisionRecall(net=net, num_neighbors=k).compare(*sets, seed=0)


@pytest.mark.parametrize("k", [1, 3, 24])
def test_it_equals_a_computation_pair_by_pair(frozen, k):
    found = compared(frozen, k=k)
    assert found == {"precision": numpy_share(MADE, REAL, k), "recall": numpy_share(REAL, MADE, k)}
    if k == 3:
        assert 0.2 < found["recall"] < found["precision"] < 1


def test_it_is_the_same_in_blocks_of_one_row(frozen, monkeypatch):
    whole = compared(frozen)
    monkeypatch.setattr(features, "_BLOCK_BYTES", 1)
    assert compared(frozen) == whole


def test_equal_sets_have_precision_and_recall_1(frozen):
    assert compared(frozen, REAL, REAL) == {"precision": 1.0, "recall": 1.0}


def test_a_feature_that_repeats_more_often_than_k_lies_on_its_own_manifold(frozen):
    """Its balls have the radius 0, where rounding would decide."""
    repeated = np.repeat(1e3 + np.random.default_rng(2).random((6, 40)), 5, axis=0)
    assert compared(frozen, repeated, repeated) == {"precision": 1.0, "recall": 1.0}


def test_sets_far_apart_have_neither(frozen):
    assert compared(frozen, REAL, MADE + 100) == {"precision": 0.0, "recall": 0.0}


def test_one_image_made_again_and_again_is_precise_and_recalls_nothing_else(frozen):
    found = compared(frozen, REAL, np.repeat(REAL[:1], 10, axis=0))
    assert found == {"precision": 1.0, "recall": pytest.approx(1 / 30)}


def test_the_name_of_the_result_says_k(frozen):
    assert PrecisionRecall(net=frozen, num_neighbors=5).conditions("samples") == ["k=5"]
