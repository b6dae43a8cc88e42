"""The kernel distance against a computation pair by pair."""

import itertools
import types

import numpy as np
import pytest

from vaeflow.metrics.fidelity import KernelDistance, features
from vaeflow.metrics.fidelity.kernel_distance import squared_mmd

ONE = np.random.default_rng(0).normal(size=(9, 5))
OTHER = np.random.default_rng(1).normal(0.3, 1.5, size=(12, 5))


def kernel(x, y):
    """Bińkowski et al. 2018: the cubic polynomial kernel."""
    return (np.dot(x, y) / len(x) + 1) ** 3


def numpy_mmd(one, other):
    """Gretton et al. 2012, Eq. 3, pair by pair."""
    within = [
        np.mean([kernel(x, y) for x, y in itertools.permutations(features, 2)]) for features in (one, other)
    ]
    across = np.mean([kernel(x, y) for x, y in itertools.product(one, other)])
    return sum(within) - 2 * across


def compared(metric, one=ONE, other=OTHER, seed=0):
    sets = (types.SimpleNamespace(array=each, num_images=len(each)) for each in (one, other))
    return metric.compare(*sets, seed)["kid"]


def test_it_equals_a_computation_pair_by_pair():
    assert squared_mmd(ONE, OTHER) == pytest.approx(numpy_mmd(ONE, OTHER), rel=1e-12)


def test_it_is_the_same_in_blocks_of_one_row(monkeypatch):
    monkeypatch.setattr(features, "_BLOCK_BYTES", 1)
    assert squared_mmd(ONE, OTHER) == pytest.approx(numpy_mmd(ONE, OTHER), rel=1e-12)


def test_features_of_float32_are_summed_in_float64():
    one, other = ONE.astype("float32"), OTHER.astype("float32")
    exact = numpy_mmd(one.astype("float64"), other.astype("float64"))
    assert squared_mmd(one, other) == pytest.approx(exact, rel=1e-12)


def test_it_is_unbiased():
    """Of two sets from one distribution the mean estimate is 0, within three standard errors."""
    generator = np.random.default_rng(2)
    estimates = [squared_mmd(*generator.normal(size=(2, 10, 3))) for _ in range(1000)]
    assert abs(np.mean(estimates)) < 3 * np.std(estimates) / np.sqrt(1000)


def test_all_pairs_count_unless_subsets_are_asked_for(frozen):
    assert compared(KernelDistance(net=frozen)) == squared_mmd(ONE, OTHER)


def test_subsets_of_all_images_give_all_pairs(frozen):
    metric = KernelDistance(net=frozen, num_subsets=4, subset_size=9)
    assert compared(metric, other=OTHER[:9]) == pytest.approx(squared_mmd(ONE, OTHER[:9]), rel=1e-12)


def test_subsets_estimate_the_same(frozen):
    metric = KernelDistance(net=frozen, num_subsets=2000, subset_size=4)
    spread = np.std(
        [compared(KernelDistance(net=frozen, num_subsets=1, subset_size=4), seed=s) for s in range(99)]
    )
    assert compared(metric) == pytest.approx(squared_mmd(ONE, OTHER), abs=4 * spread / np.sqrt(2000))


def test_the_seed_chooses_the_subsets(frozen):
    metric = KernelDistance(net=frozen, num_subsets=3, subset_size=4)
    assert compared(metric, seed=1) == compared(metric, seed=1) != compared(metric, seed=2)


def test_the_name_of_the_result_says_how_many_subsets(frozen):
    metric = KernelDistance(net=frozen, num_samples=7, num_subsets=3, subset_size=4)
    assert metric.conditions("samples") == ["samples=7", "subsets=3x4"]
    assert metric.conditions("reconstructions") == ["subsets=3x4"]
    assert KernelDistance(net=frozen).conditions("samples") == []


@pytest.mark.parametrize("wrong", [{"num_subsets": 0}, {"subset_size": 1}, {"subset_size": 2.5}])
def test_a_wrong_setting_is_refused(frozen, wrong):
    with pytest.raises(ValueError, match=f"`KernelDistance.{next(iter(wrong))}` must be"):
        KernelDistance(net=frozen, **wrong)
