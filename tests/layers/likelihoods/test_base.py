"""How many numbers a decoder outputs for a likelihood, and which settings all of a kind refuse."""

import pytest

from vaeflow.layers import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
    LogisticMixtureLikelihood,
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    StudentTLikelihood,
)


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [
        (BernoulliLikelihood(), [1, 2, 3, 4]),
        (ContinuousBernoulliLikelihood(), [1, 2, 3, 4]),
        (GaussianLikelihood(learned="per_pixel"), [2, 4, 6, 8]),
        (StudentTLikelihood(learned="per_pixel"), [3, 6, 9, 12]),
        (CategoricalLikelihood(), [256, 512, 768, 1024]),
        # 3 K for grey and 10 K for colours, as in the authors' code.
        (LogisticMixtureLikelihood(10), [30, 60, 100, 150]),
        (PoissonLikelihood(), [1, 2, 3, 4]),
        (NegativeBinomialLikelihood(learned="per_pixel"), [2, 4, 6, 8]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_numbers_for_each_place(likelihood, expected):
    assert [likelihood.num_outputs(channels) for channels in (1, 2, 3, 4)] == expected
    assert [likelihood.num_channels(outputs) for outputs in expected] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [CategoricalLikelihood, LogisticMixtureLikelihood])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "must be at least 2, got 1; bytes have 256"),
        (0, "must be a positive integer, got 0"),
        (65537, "must be at most 65,536, got 65,?537"),
    ],
)
def test_faulty_numbers_of_levels_are_refused(kind, value, message):
    with pytest.raises(ValueError, match=rf"`{kind.__name__}.num_levels` {message}"):
        kind(num_levels=value)


@pytest.mark.parametrize("kind", [PoissonLikelihood, NegativeBinomialLikelihood])
@pytest.mark.parametrize(
    ("value", "message"),
    [(0, "must be a positive integer, got 0"), (2**20, "must be at most 1,048,575, got 1,?048,?576")],
)
def test_faulty_largest_counts_are_refused(kind, value, message):
    with pytest.raises(ValueError, match=rf"`{kind.__name__}.max_count` {message}"):
        kind(max_count=value)
