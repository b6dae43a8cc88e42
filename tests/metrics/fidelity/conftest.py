"""A net that no test here calls."""

import pytest

from vaeflow.layers import FeatureNet


@pytest.fixture
def frozen():
    return FeatureNet("unread.keras")
