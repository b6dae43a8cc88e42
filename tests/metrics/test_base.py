"""The base class of metrics."""

import pytest

from vaeflow.metrics import Metric


def test_a_metric_must_measure():
    with pytest.raises(NotImplementedError):
        Metric().per_example(None, None)
