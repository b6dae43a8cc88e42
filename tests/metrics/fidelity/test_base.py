"""The base class of metrics of features: what it takes, and what a subclass says."""

import numpy as np
import pytest

from vaeflow.errors import ConfigurationError
from vaeflow.metrics import FeatureMetric, PrecisionRecall


def test_a_single_image_is_not_measured(frozen):
    assert FeatureMetric(frozen).per_example(None, None) == {}


def test_it_must_compare(frozen):
    with pytest.raises(NotImplementedError):
        FeatureMetric(frozen).compare(None, None, 0)


def test_one_set_may_be_named_without_a_list(frozen):
    assert FeatureMetric(frozen, "samples").of == ("samples",)
    assert FeatureMetric(frozen).of is None


def test_what_is_no_net_is_refused():
    with pytest.raises(ValueError, match=r"write FeatureMetric.net = @FeatureNet\(\) with parentheses"):
        FeatureMetric("inception.keras")


@pytest.mark.parametrize("wrong", ["images", [], ["samples", "reconstruction"], 3])
def test_other_sets_are_refused(frozen, wrong):
    with pytest.raises(ValueError, match=r"`FeatureMetric.of` must be"):
        FeatureMetric(frozen, wrong)


@pytest.mark.parametrize("wrong", [0, 1.5])
def test_a_wrong_number_of_samples_is_refused(frozen, wrong):
    with pytest.raises(ValueError, match=r"`FeatureMetric.num_samples` must be a positive integer"):
        FeatureMetric(frozen, num_samples=np.float64(wrong))


def test_too_few_images_are_refused(frozen):
    metric = PrecisionRecall(net=frozen, num_neighbors=3)
    metric.check_num_images(4, "samples")
    with pytest.raises(ConfigurationError, match="needs 4 images or more of each set, got 3 samples"):
        metric.check_num_images(3, "samples")
